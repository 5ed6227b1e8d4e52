"""Taking work: as much as there are free slots for, and, when there is none, listening for the bell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any

from runtime.errors import StoreError
from runtime.store.connect import Redis
from runtime.store.lanes import Lanes, Took
from runtime.worker.slots import Slots

# A bell may be lost with the worker that heard it; the sweeper rings again within a second or two.
LISTEN = 30.0
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
        self._idle_for: float | None = None  # seconds until more may come; None: look at once

    async def step(self) -> float:
        """Takes once; where nothing more waits, waits for more to come first."""
        if self._idle_for is not None and not self._alone:
            await self._lanes.hear(self._blocking, self._functions, self._idle_for)
            self._idle_for = None
        reserved = await self._slots.reserve(self._batch)
        if self._idle_for is None:
            call = self._lanes.take(reserved, self._functions)
        else:
            call = self._lanes.hear_and_take(self._blocking, reserved, self._functions, self._idle_for)
        await self._take(reserved, call)
        return 0.0

    async def _take(self, reserved: int, call: Coroutine[Any, Any, Took]) -> None:
        """A take that is under way when the worker is told to leave is waited for: its jobs are ours."""
        task = asyncio.ensure_future(call)
        started = 0
        listened, self._idle_for = self._idle_for is not None, None
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
            self._idle_for = LISTEN if took.due_in is None else min(LISTEN, took.due_in / 1000)
            if self._idle_for <= 0:
                self._idle_for = None

    def _start(self, took: Took) -> int:
        for taken in took.jobs:
            self._slots.start(taken)
        return len(took.jobs)
