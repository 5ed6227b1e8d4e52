"""Group commit: what arrives while a round trip is under way goes out together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

from runtime import log

_BYTES = 4 << 20
_FEW = 50
Item = TypeVar("Item")


class GroupCommit(Generic[Item]):
    """Calls `flush` with batches: within a turn of the loop when idle, and with all that gathered otherwise.

    Batches go out one after the other, in the order of their items, of at most `max_items` items and some
    4 MiB, where `weigh` gives an item's bytes. `flush` handles its own errors; one that escapes is
    logged.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[None]],
        max_items: int = 500,
        weigh: Callable[[Item], int] = lambda _: 0,
        pause: float = 0.0,
    ) -> None:
        """`pause`: seconds to wait for more, where only a few came while a batch was under way."""
        self._flush = flush
        self._pause = pause
        self._max_items = max_items
        self._weigh = weigh
        self._waiting: list[Item] = []
        self._running: asyncio.Task[None] | None = None

    def add(self, item: Item) -> None:
        self._waiting.append(item)
        if self._running is None:
            # starts in the loop's next turn, so that all items of this turn go together
            # for all that gathers: not a part of the request that came first
            self._running = asyncio.get_running_loop().create_task(self._run(), context=Context())

    def take_waiting(self) -> list[Item]:
        """Removes and returns the items that no batch has taken yet."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def drained(self) -> None:
        """Returns once nothing is waiting or under way."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = self._next()
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                try:
                    await self._flush(batch)
                except Exception as error:
                    log.get("store").error("flush.failed", items=len(batch), exc_info=error)
                if self._pause and 0 < len(self._waiting) < _FEW:
                    await asyncio.sleep(self._pause)
                await self._gather()
        finally:
            self._running = None

    def _next(self) -> int:
        """How many items the next batch has."""
        total = 0
        for index, item in enumerate(self._waiting[: self._max_items]):
            total += self._weigh(item)
            if total > _BYTES:
                return max(1, index)
        return min(self._max_items, len(self._waiting))

    async def _gather(self) -> None:
        """Waits while each turn of the loop brings more items: a round trip costs a client ten times as
        much as an item, and under load one turn brings few."""
        seen = 0
        while seen < len(self._waiting) < self._max_items:
            seen = len(self._waiting)
            await asyncio.sleep(0)
