"""Group commit: what arrives while a round trip is under way goes out together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class GroupCommit(Generic[Item]):
    """Calls `flush` with batches: within a turn of the loop when idle, and with all that gathered otherwise.

    Batches go out one after the other, in the order of their items. `flush` answers for its own
    errors: one that it raises ends the task, and the items after it wait for the next `add`.
    """

    def __init__(self, flush: Callable[[list[Item]], Awaitable[None]], most: int = 500) -> None:
        self._flush = flush
        self._most = most
        self._waiting: list[Item] = []
        self._running: asyncio.Task[None] | None = None

    def add(self, item: Item) -> None:
        self._waiting.append(item)
        if self._running is None:
            # starts in the loop's next turn, so that all items of this turn go together
            self._running = asyncio.get_running_loop().create_task(self._run())

    def take_waiting(self) -> list[Item]:
        """What no batch has taken yet; it is the caller's now."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def drained(self) -> None:
        """Returns once nothing is waiting or under way."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._flush(batch)
        finally:
            self._running = None

    async def _gather(self) -> None:
        """Lets more come as long as each turn of the loop brings some: a round trip costs a client
        ten times what an item does, and under load one turn's items would be few."""
        seen = 0
        while seen < len(self._waiting) < self._most:
            seen = len(self._waiting)
            await asyncio.sleep(0)
