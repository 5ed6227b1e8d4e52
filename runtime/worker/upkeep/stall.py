"""Ending a worker whose event loop stands still: timeouts cannot reach the handler that holds it up, and all
others wait.

A thread checks each second that the loop responds. After a suspension the count starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping

from runtime import log
from runtime.jobs.failure import Timeout
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Settlement
from runtime.store.thread_client import ThreadClient
from runtime.worker import exits_and_forks
from runtime.worker.attempt import Attempt
from runtime.worker.held import Held
from runtime.worker.runner import failed

_EVERY = 1.0  # seconds between looks
_SUSPENDED = 3.0  # seconds: if a wait of _EVERY took longer, this process was suspended
_SILENT = 2.0  # seconds without an answer after which nothing more is taken
_PATIENCE = 5.0  # seconds without an answer, and beyond the timeout of the attempt that holds the loop up
_LEFT_BEHIND = 30.0  # seconds for what an attempt has left running on the loop
UNEXPLAINED = 300.0  # seconds where no attempt explains it
_STATUS = 1


class Stall:
    """Made on the event loop that it watches."""

    def __init__(
        self,
        stores: Mapping[int, AttemptStore],
        held: Held,
        settings: Settings,
        kill_processes: Callable[[], None],
    ) -> None:
        self._stores = stores
        self._held = held
        self._settings = settings
        self._kill_processes = kill_processes
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._asked_at: float | None = None  # since when the loop owes an answer
        self._fell_silent = self._was_told = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stall", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_silent(self) -> bool:
        """Whether the loop has not answered for so long that it would not run what this worker takes."""
        return self._silence() >= _SILENT

    def _silence(self) -> float:
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def _run(self) -> None:
        client = ThreadClient(self._settings)
        while True:
            begun = time.monotonic()
            if self._stopped.wait(_EVERY):
                break
            if time.monotonic() - begun > _SUSPENDED and self._asked_at is not None:
                self._asked_at = time.monotonic()
            try:
                self._look(client)
            except Exception as error:  # it is tried again; else the worker would stand still for ever
                log.get("stall").warning("store.trouble", role="stall", error=f"{type(error).__name__}: {error}")
        client.close()

    def _look(self, client: ThreadClient) -> None:
        if self._asked_at is None:
            self._fell_silent = self._was_told = False
            self._asked_at = time.monotonic()
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ends
                self._loop.call_soon_threadsafe(self._answer)
        elif self.is_silent():
            if not self._fell_silent:
                for store in self._stores.values():
                    store.fall_silent(client)
                self._fell_silent = True
            attempt, patience = self._culprit()
            if self._silence() >= patience:
                self._end(client, attempt)

    def _answer(self) -> None:
        self._asked_at = None

    def _culprit(self) -> tuple[Attempt | None, float]:
        """The attempt whose handler is running now, directly or in a task it started; and how long
        the loop may be silent for it."""
        task = asyncio.current_task(self._loop)
        owner = None if task is None else exits_and_forks.owner(task)
        for attempt in self._held.all():
            if task is not None and (attempt.task is task or attempt is owner):
                overdue = time.perf_counter() - attempt.started - attempt.function.policy.timeout
                return attempt, _PATIENCE if overdue > _PATIENCE else float("inf")
        return None, UNEXPLAINED if owner is None else _LEFT_BEHIND

    def _end(self, client: ThreadClient, culprit: Attempt | None) -> None:
        """Times out the attempt that blocks the loop, and hands back all others without counting them."""
        if not self._was_told:
            self._tell(culprit)
            self._was_told = True
        self._kill_processes()  # what runs in them is handed back, and must not run on
        for store in self._stores.values():
            held = store.held(client)
            ends = [
                _timed_out(culprit)
                if culprit is not None and taken.id == culprit.taken.id
                else Settlement(taken, "released")
                for taken in held
            ]
            for start in range(0, len(ends), 100):
                store.settle_from_thread(client, ends[start : start + 100])
        sys.stdout.flush()
        os._exit(_STATUS)

    def _tell(self, culprit: Attempt | None) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        log.get("worker").error(
            "worker.stalled",
            **({} if culprit is None else log.names(culprit.taken)),
            seconds=round(self._silence(), 1),
            why="the event loop stands still; the worker ends, others go on with its jobs",
            where="".join(traceback.format_stack(frame)[-3:]),
        )


def _timed_out(attempt: Attempt) -> Settlement:
    seconds = attempt.function.policy.timeout
    error = Timeout(f"did not end within {seconds:g} s, and let nothing else run: its worker was ended")
    return failed(attempt.function, attempt.taken, error)
