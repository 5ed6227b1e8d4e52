"""How much there is: what waits and runs, what failed, how fast it goes, and what schedules did."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runtime.client.connection import Connection
from runtime.client.deadline import within
from runtime.errors import HistoryMissing
from runtime.history.bucket import SPAN_MS, Bucket, Span
from runtime.store.archive import Lag
from runtime.store.schedules import Ticked
from runtime.store.server import Server
from runtime.store.stats import Depth, Place
from runtime.values import durations, ids
from runtime.values.clock import now_ms

WHAT = ("stored", "completed", "failed")
_HOUR = 60
_SHOWN = {"hour": 86_400_000, "day": 30 * 86_400_000}  # ms of the past, where nothing is said
_MOST_SPANS = 1000
_LONGEST = 60  # seconds
_NONE = [0] * (_HOUR + 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """Jobs a minute, over the last 1, 5 and 60 minutes."""

    of_1: float = 0.0
    of_5: float = 0.0
    of_60: float = 0.0

    @classmethod
    def of(cls, counts: Sequence[int], second: int) -> Rate:
        """From counts by minute; of the last minute of each span, the part counts that is not over."""
        rest = (60 - second) / 60
        return cls(*((sum(counts[:span]) + counts[span] * rest) / span for span in (1, 5, _HOUR)))

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.of_1 + other.of_1, self.of_5 + other.of_5, self.of_60 + other.of_60)


@dataclass(slots=True)
class Figures:
    """Of a function, or of one of its lanes. `oldest`: seconds for which the first that waits has waited, None
    where none does. `rates`: of the jobs that were stored, completed and failed. `dead`: failed jobs that are kept,
    of all lanes together."""

    waiting: int = 0
    running: int = 0
    scheduled: int = 0
    oldest: float | None = None
    rates: dict[str, Rate] = field(default_factory=lambda: dict.fromkeys(WHAT, Rate()))
    dead: int | None = None


@dataclass(slots=True)
class FunctionStats:
    """A function as a whole, and by lane."""

    function: str
    whole: Figures
    lanes: dict[str, Figures]


@dataclass(slots=True)
class Statistics:
    """`scheduled_partial`: whether only the first 10,000 scheduled jobs were counted by function."""

    functions: list[FunctionStats]
    scheduled_partial: bool


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

    async def oldest(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """Seconds for which the first job that waits in each lane has waited, by function and lane; nothing where
        none waits."""
        self._check_event_loop()
        return {name: age / 1000 for name, age in (await within(self._store.stats.oldest(names))).items()}

    async def server(self) -> Server:
        """How Redis itself is. Raises StoreUnavailable."""
        self._check_event_loop()
        return await within(self._store.server())

    async def dead_counts(self, functions: Sequence[str]) -> dict[str, int]:
        """How many failed jobs each of the functions keeps."""
        self._check_event_loop()
        return await within(self._store.dead.count(functions))

    async def ticks(self, function: str, schedules: Sequence[str]) -> list[Ticked | None]:
        """The past of each of a function's schedules; None for one that is new."""
        self._check_event_loop()
        return await within(self._store.schedules.past(function, schedules))

    async def place(self, job_id: str) -> Place | None:
        """How many jobs are before one that waits, in its function's lane, up to 1,000; None for one that does not
        wait in line. With several shards, and where a concurrency key decides too, it is an estimate.

        Raises JobNotFound, StoreUnavailable.
        """
        self._check_event_loop()
        found = await within(self._store.jobs.entry(job_id))
        if found is None:
            return None
        function, lane, entry = found
        place = await within(self._store.stats.place(ids.shard_of(job_id), (function, lane), entry))
        deployed = (await self.functions()).get(function)
        if place is None or deployed is None:
            return place
        shards = 1 if deployed.pinned else self.settings.shards  # others' jobs lie in all alike
        return Place(place.ahead * shards, place.exact and shards == 1 and deployed.concurrency_key is None)

    async def retry_after(self, function: str) -> int:
        """Seconds in which about one job of a function settles, as the last five minutes tell: 1 to 60."""
        self._check_event_loop()
        settled, minutes = await within(self._store.stats.settled_lately(function))
        return max(1, min(_LONGEST, math.ceil(60 * minutes / settled))) if settled else _LONGEST

    async def history_lag(self) -> Lag | None:
        """How far history is behind; None where there is none. Raises StoreUnavailable."""
        self._check_event_loop()
        return await within(self._store.archive.lag())

    async def past(
        self,
        by: Span = "hour",
        *,
        after: int | str | datetime | None = None,
        before: int | str | datetime | None = None,
        function: str | None = None,
    ) -> list[Bucket]:
        """What settled from `after` on and before `before`, by hour or day (of UTC) and function; up to now, and
        of a day or thirty days where nothing is said. Of more than 1000 hours or days, the last.

        Raises ValueError for a time that is none, HistoryMissing, HistoryUnavailable.
        """
        self._check_event_loop()
        end = now_ms() if before is None else durations.unix_ms(before)
        begin = end - _SHOWN[by] if after is None else durations.unix_ms(after)
        begin = max(begin, end - _MOST_SPANS * SPAN_MS[by])
        if self._history is None:
            raise HistoryMissing("the past is in history, and none is set")
        return await self._history.past(by, begin, end, function)

    async def stats(self) -> Statistics:
        """What waits, runs, is scheduled and has failed, of each function and lane, for how long, and how fast it
        goes. Raises StoreUnavailable."""
        store = self._store.stats
        depths, scheduled, tallies, known = await asyncio.gather(
            self.depths(), within(store.scheduled_by_lane()), within(store.tallies(_HOUR)), self.functions()
        )
        by_name = {(depth.function, depth.lane): depth for depth in depths}
        names = sorted({*by_name, *scheduled.counts, *tallies.counts, *((fn, known[fn].lane) for fn in known)})
        functions = sorted({function for function, _ in names})
        oldest, dead = await asyncio.gather(self.oldest(names), self.dead_counts(functions))
        of: dict[str, dict[str, Figures]] = {function: {} for function in functions}
        for name in names:
            depth, counts = by_name.get(name), tallies.counts.get(name, {})
            of[name[0]][name[1]] = Figures(
                depth.waiting if depth else 0,
                depth.running if depth else 0,
                scheduled.counts[name],
                oldest.get(name),
                {what: Rate.of(counts.get(what, _NONE), tallies.second) for what in WHAT},
            )
        whole = {function: _sum(lanes.values(), dead[function]) for function, lanes in of.items()}
        return Statistics([FunctionStats(fn, whole[fn], of[fn]) for fn in functions], scheduled.partial)


def _sum(lanes: Iterable[Figures], dead: int) -> Figures:
    total = Figures(dead=dead)
    for lane in lanes:
        total.waiting += lane.waiting
        total.running += lane.running
        total.scheduled += lane.scheduled
        total.oldest = max((age for age in (total.oldest, lane.oldest) if age is not None), default=None)
        total.rates = {what: rate + lane.rates[what] for what, rate in total.rates.items()}
    return total
