"""The slots of one group of a worker's attempts: how many may run, and running them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from runtime import log
from runtime.handlers.spec import Spec
from runtime.jobs.failure import record
from runtime.store.attempts import Settlement, Taken
from runtime.worker.attempt import Attempt
from runtime.worker.held import Held
from runtime.worker.runner import Runner
from runtime.worker.settler import Settler


class Slots:
    """Runs each attempt in a slot, frees the slot when the handler has ended, and holds the attempt
    until its end is in Redis: leases are renewed for what is held."""

    def __init__(
        self,
        count: int,
        held: Held,
        held_at_most: int,
        runner: Runner,
        settler: Settler,
        ahead: Callable[[], int] = lambda: 0,
    ) -> None:
        """`ahead`: how many more may be taken, to start as soon as one ends."""
        self.count = count
        self._ahead = ahead
        self._held_at_most = held_at_most
        self._held = held
        self._runner = runner
        self._settler = settler
        self._running = 0
        self._freed = asyncio.Event()

    @property
    def running(self) -> int:
        return self._running

    @property
    def room(self) -> int:
        """How many may be taken at once: to run, or to start as soon as one ends."""
        return self.count + self._ahead()

    async def reserve(self, limit: int) -> int:
        """Sets up to `limit` free slots aside, once there is one; returns how many.

        While ends cannot be written, no more is begun than may be held.
        """
        while self._running >= self._enough() or len(self._held) > self._held_at_most:
            await self._held.until_at_most(self._held_at_most)
            if self._running >= self._enough():
                self._freed.clear()
                await self._freed.wait()
        reserved = min(limit, self.room - self._running)
        self._running += reserved
        return reserved

    def give_back(self, reserved: int) -> None:
        """Frees slots: those set aside and not used, or the one of an attempt that has ended."""
        self._running -= reserved
        if not self._running or self._running < self._enough():
            self._freed.set()

    def _enough(self) -> int:
        """How many are enough, so that no more are taken: what is taken ahead is refilled only once half of it is
        used up, since a refill for each attempt would cost a round trip each."""
        return self.count + self._ahead() // 2

    async def wait_idle(self, timeout: float) -> bool:
        """Whether every handler has ended within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self._running:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            return False
        return True

    def start(self, taken: Taken, function: Spec) -> None:
        """Runs an attempt in a slot that was set aside."""
        attempt = Attempt(taken, function)
        self._held.add(attempt)
        attempt.meters.started(taken.waited)
        # not by the loop's factory, which looks whether a handler starts the task
        attempt.task = asyncio.Task(self._run(attempt), loop=asyncio.get_running_loop())

    async def _run(self, attempt: Attempt) -> None:
        try:
            settlement = await self._runner.run(attempt)
        except BaseException as error:
            # every held attempt must be settled, whatever goes wrong in the runtime itself
            log.get("worker").error("attempt.broke", job=attempt.taken.id, exc_info=error)
            error_record = record("InternalError", f"the worker failed to run it: {type(error).__name__}")
            settlement = Settlement(attempt.taken, "failed", error_record)
        finally:
            if attempt.lingers is None:
                self.give_back(1)
            else:
                attempt.lingers.add_done_callback(lambda _: self.give_back(1))
            attempt.meters.ended(time.perf_counter() - attempt.started)
        if settlement is None:
            self._settler.drop(attempt)
        else:
            self._settler.add(attempt, settlement)
