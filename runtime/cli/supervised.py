"""Processes that are started again when they die."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Collection
from functools import partial

from runtime import log
from runtime.worker.processes import os_limits


class Supervised:
    """A process that is restarted when it dies: after 0.2 s if it ran for more than 10 s, else after a pause that
    doubles from 0.4 s up to 5 s."""

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], fds: tuple[int, ...] = (), *, part: str = "up"
    ) -> None:
        """`fds`: open files that it inherits. `part`: whose log says when it dies."""
        self.name = name
        self._command = command
        self._env = env
        self._fds = fds
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._log = log.get(part)

    async def run(self, final: Collection[int] = ()) -> int:
        """Until `stop`, or until it exits with a code that is final; returns that."""
        pause = 0.2
        while not self._stopping:
            begun = time.monotonic()
            code = await self._ended()
            if code is not None and (self._stopping or code in final):
                return code
            pause = 0.2 if time.monotonic() - begun > 10 else min(5.0, pause * 2)
            self._log.warning("process.died", process=self.name, exit=code, next=f"started again in {pause:g} s")
            await asyncio.sleep(pause)
        return 0

    async def _ended(self) -> int | None:
        """Its exit code; None where it could not be started, as without free memory or files."""
        try:
            process = await self.start()
            if self._stopping:  # it was told to stop while the process was being made
                process.terminate()
            return await process.wait()
        except OSError as error:
            self._log.error("process.unstarted", process=self.name, error=str(error))
            return None

    def kill(self) -> None:
        """At once, without a chance to leave."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def start(self) -> asyncio.subprocess.Process:
        """Starts the process unless it is running; returns it."""
        if self._process is None or self._process.returncode is not None:
            # a session of its own: Ctrl-C in the terminal is ours to pass on, in order
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._env,
                pass_fds=self._fds,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(os_limits.die_with, os.getpid(), signal.SIGTERM),
            )
        return self._process

    async def stop(self, within: float) -> None:
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), within)
        except TimeoutError:
            self._log.warning("process.killed", process=self.name, after=within)
            process.kill()
            await process.wait()
