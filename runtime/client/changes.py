"""The changes of all jobs, as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from runtime.client.connection import Connection, every_type
from runtime.client.deadline import within
from runtime.jobs.job import STATUSES
from runtime.store.events import Position
from runtime.store.record import shown_status
from runtime.store.rows import Change
from runtime.values import ids


class Positions(NamedTuple):
    """How far each shard's changes were followed. As text, the position of a `JobChange`."""

    of: tuple[Position, ...]

    @classmethod
    def parse(cls, text: str, shards: int) -> Positions | None:
        """From what `str` made of one; None for other text."""
        parts = [Position.parse(part) for part in text.split("_", shards)]
        found = tuple(part for part in parts if part is not None)
        return cls(found) if len(found) == len(parts) == shards else None

    def behind(self, shard: int, position: Position) -> Positions:
        return Positions((*self.of[:shard], position, *self.of[shard + 1 :]))

    def __str__(self) -> str:
        return "_".join(str(position) for position in self.of)


class JobChange(NamedTuple):
    """`status`: a job has this status now. `gap`: changes between the position asked for and now are no longer
    kept. `alive`: nothing has happened for a while, or yet.

    `position`: to go on from. `id`, `type`, `status`, `attempt`: of the job, as the change left it.
    """

    kind: Literal["status", "gap", "alive"]
    position: Positions
    id: str = ""
    type: str = ""
    status: str = ""
    attempt: int = 0


@dataclass(slots=True)
class Recent:
    """Changes since a position. `gap`: whether some are no longer kept. `position`: to go on from."""

    changes: list[JobChange]
    position: Positions
    gap: bool = False


class Changes(Connection):
    """What happens to all jobs."""

    async def changes(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
        alive: float = 15.0,
    ) -> AsyncGenerator[JobChange]:
        """Each job's each new status, from now on, or from behind the position `after`, as text.

        The first is `alive` where there is no other. `types`, `statuses`: of these alone. `visible`: of which types
        besides. `alive`: seconds without a change until one says so. It ends where its taker is slower than the
        changes. Raises StoreUnavailable.
        """
        self._check_event_loop()
        wants = _Wanted(types, statuses, visible)
        async with self._store.waiters.watch_all(range(self.settings.shards)) as watch:
            recent = await self.recent(after, types=types, statuses=statuses, visible=visible)
            position = recent.position
            if recent.gap:
                yield JobChange("gap", position)
            for change in recent.changes:
                yield change
            if not recent.gap and not recent.changes:
                yield JobChange("alive", position)
            while True:
                try:
                    following = await watch.next(alive)
                except TimeoutError:
                    yield JobChange("alive", position)
                    continue
                if following is None:
                    return
                at, row = following
                shard = ids.shard_of(row.id)
                if at > position.of[shard]:  # else it was among the recent ones
                    position = position.behind(shard, at)
                    if wants.has(row):
                        yield _shown(row, position)

    async def recent(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
    ) -> Recent:
        """The changes behind the position `after`, the oldest first; none where it is not said. See `changes`.

        Raises StoreUnavailable.
        """
        self._check_event_loop()
        shards = range(self.settings.shards)
        last = None if after is None else Positions.parse(after, len(shards))
        events = [self._store.waiters.events_of(shard) for shard in shards]
        if last is not None:
            since = zip(events, last.of, strict=True)
            missed = await asyncio.gather(*(within(one.since(position)) for one, position in since))
            if not any(rows is None for rows in missed):
                return _merged(last, [rows or [] for rows in missed], _Wanted(types, statuses, visible))
        newest = await asyncio.gather(*(within(one.newest()) for one in events))
        return Recent([], Positions(tuple(newest)), gap=after is not None)


class _Wanted(NamedTuple):
    """Which changes are asked for."""

    types: Collection[str]
    statuses: Collection[str]
    visible: Callable[[str], bool]

    def has(self, row: Change) -> bool:
        status = shown_status(row.status.encode())
        return (
            status in (self.statuses or STATUSES)
            and (not self.types or row.type in self.types)
            and self.visible(row.type)
        )


def _merged(position: Positions, missed: Iterable[list[tuple[Position, Change]]], wants: _Wanted) -> Recent:
    changes = []
    for at, row in sorted((pair for rows in missed for pair in rows), key=lambda pair: pair[0]):
        position = position.behind(ids.shard_of(row.id), at)
        if wants.has(row):
            changes.append(_shown(row, position))
    return Recent(changes, position)


def _shown(row: Change, position: Positions) -> JobChange:
    return JobChange("status", position, row.id, row.type, shown_status(row.status.encode()), row.attempt)
