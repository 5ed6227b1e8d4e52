"""What goes wrong, at random: workers killed, stopped and sent away, the server killed, restarted and stopped."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from tests.chaos.stage import Stage


class Monkey:
    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self._stage = stage
        self._dice = dice
        self._did: Counter[str] = Counter()
        self.harms = [self._kill] * 4 + [self._freeze] * 3 + [self._roll] * 2

    async def beside(self, load: Coroutine[Any, Any, None]) -> None:
        """Does harm until the load is through."""
        task = asyncio.create_task(load)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=self._dice.uniform(0.2, 1.2))
                if not task.done():
                    await self._harm()
        finally:
            task.cancel()
        await task

    def told(self) -> str:
        return ", ".join(f"{count} × {what}" for what, count in sorted(self._did.items()))

    async def _harm(self) -> None:
        harm = self._dice.choice(self.harms)
        self._did[harm.__name__.strip("_")] += 1
        await harm()

    async def _kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _roll(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        index = self._dice.randrange(len(self._stage.workers))
        worker = self._stage.workers[index]
        worker.send_signal(number)
        await asyncio.to_thread(worker.wait)
        self._stage.workers[index] = self._stage.start_worker()

    async def _freeze(self) -> None:
        """Longer than a lease, or shorter."""
        worker = self._dice.choice(self._stage.workers)
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.2, 4.0))
        worker.send_signal(signal.SIGCONT)


class ServerMonkey(Monkey):
    """It does harm to the server too."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        super().__init__(stage, dice)
        self.harms += [self._restart, self._crash, self._stall]

    async def _restart(self) -> None:
        await self._end_server(signal.SIGTERM)

    async def _crash(self) -> None:
        await self._end_server(signal.SIGKILL)

    async def _end_server(self, number: signal.Signals) -> None:
        self._server.send_signal(number)
        await asyncio.to_thread(self._server.wait)
        await asyncio.sleep(self._dice.uniform(0, 0.5))
        await asyncio.to_thread(self._stage.start_server)

    async def _stall(self) -> None:
        """A server that does not answer for a while, and does not hang up either."""
        self._server.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        self._server.send_signal(signal.SIGCONT)

    @property
    def _server(self) -> subprocess.Popen[bytes]:
        assert self._stage.server is not None
        return self._stage.server
