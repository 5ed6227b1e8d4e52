"""Taking work: as much as there are free slots for, and, when there is none, listening for the bell."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from runtime.errors import StoreError
from runtime.store.connect import Redis
from runtime.store.lanes import Lanes, Took
from runtime.worker.slots import Slots

# A bell may be lost with the worker that heard it; the sweeper rings again within a second or two.
LISTEN = 10.0
_LEAVE = 2.0


class Reader:
    """One shard's reader; its `step` is for `keep_going`.

    `alone`: whether it is the worker's only one. Then it may set slots aside while it listens, and
    what it hears of is taken in the same round trip.
    """

    def __init__(
        self, lanes: Lanes, blocking: Redis, slots: Slots, functions: Iterable[str], *, alone: bool
    ) -> None:
        self._lanes = lanes
        self._blocking = blocking
        self._slots = slots
        self._functions = tuple(functions)
        self._alone = alone
        # Half of the slots at most, so that one half's round trip overlaps with the other half's work.
        self._batch = max(1, (slots.most + 1) // 2)
        self._idle = False  # whether nothing waited, and the next step may listen
        self._due_in: float | None = None  # seconds until a job may start that is known of
        self._asked_at: float | None = None  # since when Redis owes an answer

    async def step(self) -> float:
        """Takes once; where nothing more waits, waits for more to come first."""
        if self._idle and not self._alone:
            self._asked()
            with self._alarm():
                await self._lanes.hear(self._blocking, self._functions, LISTEN)
            self._asked_at = None
            self._idle = False
        reserved = await self._slots.reserve(self._batch)
        self._asked()
        if self._idle:
            with self._alarm():
                await self._take(
                    reserved, self._lanes.hear_and_take(self._blocking, reserved, self._functions, LISTEN)
                )
        else:
            await self._take(reserved, self._lanes.take(reserved, self._functions))
        self._asked_at = None
        return 0.0

    @property
    def silent(self) -> float:
        """Seconds for which Redis has owed an answer."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def _asked(self) -> None:
        if self._asked_at is None:  # else a call before this one has failed
            self._asked_at = time.monotonic()

    @contextlib.contextmanager
    def _alarm(self) -> Iterator[None]:
        """Wakes the listener when the next job is due; the server's own time-out may come 100 ms late."""
        if self._due_in is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self._due_in, self._wake)
        try:
            yield
        finally:
            timer.cancel()

    def _wake(self) -> None:
        async def wake() -> None:
            with contextlib.suppress(StoreError):  # then it listens until it is over
                await self._lanes.wake()

        self._waking = asyncio.get_running_loop().create_task(wake())

    async def _take(self, reserved: int, call: Coroutine[Any, Any, Took]) -> None:
        """A take that is under way when the worker is told to leave is waited for: its jobs are ours."""
        task = asyncio.ensure_future(call)
        started = 0
        listened, self._idle = self._idle, False
        try:
            try:
                took = await asyncio.shield(task)
            except asyncio.CancelledError:
                with contextlib.suppress(StoreError, TimeoutError):
                    if listened:
                        await self._lanes.wake()
                    started = self._start(await asyncio.wait_for(task, _LEAVE))
                raise
            started = self._start(took)
        finally:
            self._slots.give_back(reserved - started)
        if not took.more:
            self._due_in = None if took.due_in is None else took.due_in / 1000
            self._idle = self._due_in is None or self._due_in > 0

    def _start(self, took: Took) -> int:
        for taken in took.jobs:
            self._slots.start(taken)
        return len(took.jobs)
