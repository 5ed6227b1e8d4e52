"""How much there is: what waits and runs, what failed, and what schedules did."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.client.connection import Connection
from runtime.client.deadline import within
from runtime.store.schedules import Ticked
from runtime.store.stats import Depth


class Counts(Connection):
    """Figures for operators and metrics."""

    async def depths(self) -> list[Depth]:
        """How many jobs of each function wait and run in each lane."""
        self._check_event_loop()
        return await within(self._store.stats.depths())

    async def scheduled(self) -> int:
        """How many jobs wait for their time."""
        self._check_event_loop()
        return await within(self._store.stats.scheduled())

    async def dead_counts(self, functions: Sequence[str]) -> dict[str, int]:
        """How many failed jobs each of the functions keeps."""
        self._check_event_loop()
        return await within(self._store.dead.count(functions))

    async def ticks(self, function: str, schedules: Sequence[str]) -> list[Ticked | None]:
        """The past of each of a function's schedules; None for one that is new."""
        self._check_event_loop()
        return await within(self._store.schedules.past(function, schedules))
