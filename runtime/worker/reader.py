"""Taking work: as much as there are free slots for, and, when there is none, listening for the bell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from runtime.errors import StoreError
from runtime.store.connect import Redis
from runtime.store.lanes import Lanes, Taken
from runtime.worker.slots import Slots

# A bell may be lost with the worker that heard it; the sweeper rings again within a second or two.
LISTEN = 30.0


class Reader:
    """One shard's reader; its `step` is for `keep_going`."""

    def __init__(self, lanes: Lanes, blocking: Redis, slots: Slots, functions: Iterable[str]) -> None:
        self._lanes = lanes
        self._blocking = blocking
        self._slots = slots
        self._functions = tuple(functions)
        self._due_in: int | None = None
        self._more = False
        self._batch = max(1, (slots.most + 1) // 2)

    async def step(self) -> float:
        """Takes once; where that left slots free, waits for more to come."""
        # Half of the slots at most, so that one half's round trip overlaps with the other half's work.
        reserved = await self._slots.reserve(self._batch)
        await self._take(reserved)
        if not self._more:
            wait = LISTEN if self._due_in is None else min(LISTEN, self._due_in / 1000)
            if wait > 0:
                await self._lanes.hear(self._blocking, self._functions, wait)
        return 0.0

    async def _take(self, reserved: int) -> None:
        """A take that is under way when the worker is told to leave is waited for: its jobs are ours."""
        call = asyncio.ensure_future(self._lanes.take(reserved, self._functions))
        started = 0
        try:
            try:
                took = await asyncio.shield(call)
            except asyncio.CancelledError:
                with contextlib.suppress(StoreError):
                    started = self._start((await call).jobs)
                raise
            started = self._start(took.jobs)
            self._due_in, self._more = took.due_in, took.more
        finally:
            self._slots.give_back(reserved - started)

    def _start(self, jobs: list[Taken]) -> int:
        for taken in jobs:
            self._slots.start(taken)
        return len(jobs)
