"""How much waits and runs, for how long and how fast, counted from the streams themselves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any, NamedTuple

from runtime.settings import Settings
from runtime.store.connect import Redis, members, translated
from runtime.store.keys import BACK, GROUP, HELD, Keys

_SCHEDULED_READ = 10_000
_PAGE = 500
_PLACES = 1000
_HELD = 10_000  # entries of a lane that workers hold
_LATELY = 5  # minutes
_FUNCTIONS = 1000  # whose figures are known for a second
Name = tuple[str, str]  # a function and a lane


class Depth(NamedTuple):
    """One function's jobs in one lane."""

    function: str
    lane: str
    waiting: int
    running: int


class Scheduled(NamedTuple):
    """How many jobs wait for their time, by function and lane; `partial`: some, of 10,000 alone."""

    counts: Counter[Name]
    partial: bool


class Place(NamedTuple):
    """How many are before a job in its line; not `exact` where there are more than that."""

    ahead: int
    exact: bool


class Tallies(NamedTuple):
    """Counts in each minute, the one that has begun first, by what was counted (`stored`, `completed`, `failed`),
    by function and lane. `second`: of the minute that has begun."""

    second: int
    counts: Mapping[Name, Mapping[str, Sequence[int]]]


class Stats:
    """Counts over all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._shards = settings.shards
        self._lanes = settings.lanes
        self._past: dict[int, Mapping[str, int]] = {}  # the counts of minutes that are over
        self._settled: dict[str, tuple[float, asyncio.Task[tuple[int, float]]]] = {}  # since when, by function
        self._keys = Keys(settings.prefix)

    async def depths(self) -> list[Depth]:
        """XLEN is waiting + running: settled entries are deleted."""
        totals: dict[Name, tuple[int, int]] = {}
        for shard in range(self._shards):
            for name, waiting, running in await self._of(shard):
                before = totals.get(name, (0, 0))
                totals[name] = (before[0] + waiting, before[1] + running)
        return [Depth(*name, *counts) for name, counts in sorted(totals.items())]

    async def scheduled(self) -> int:
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for shard in range(self._shards):
                    pipe.zcard(self._keys.due(shard))
                return sum(await pipe.execute())

    async def scheduled_by_lane(self) -> Scheduled:
        """Each scheduled job's record says of which function and lane it is."""
        counts: Counter[Name] = Counter()
        read = 0
        for shard in range(self._shards):
            for start in range(0, _SCHEDULED_READ - read, _PAGE):
                with translated():
                    due: list[Any] = await self._client.zrange(self._keys.due(shard), start, start + _PAGE - 1)
                    async with self._client.pipeline(transaction=False) as pipe:
                        for job_id in due:
                            pipe.hmget(self._keys.job(shard, job_id.decode()), ["type", "lane"])
                        rows = await pipe.execute()
                counts.update((type.decode(), lane.decode()) for type, lane in rows if type and lane)
                read += len(due)
                if len(due) < _PAGE:
                    break
        return Scheduled(counts, partial=read < await self.scheduled())

    async def oldest(self, names: Sequence[Name]) -> dict[Name, int]:
        """ms for which the first of those that wait in each lane has waited there; nothing where none waits."""
        found: dict[Name, int] = {}
        for shard in range(self._shards):
            for name, age in await self._oldest_in(shard, names):
                found[name] = max(age, found.get(name, 0))
        return found

    async def tallies(self, minutes: int) -> Tallies:
        """How many jobs were stored, completed and failed, in so many minutes and the one that has begun. Minutes
        that are over are read once."""
        with translated():
            seconds, _ = await self._client.time()
        now = int(seconds) // 60
        self._past = {minute: tallied for minute, tallied in self._past.items() if minute >= now - minutes}
        counts: dict[Name, dict[str, list[int]]] = {}
        for number in range(minutes + 1):
            for field, count in (await self._tallied(now - number, is_over=number > 1)).items():
                function, lane, what = field.split(":")
                row = counts.setdefault((function, lane), {}).setdefault(what, [0] * (minutes + 1))
                row[number] += count
            await asyncio.sleep(0)  # with thousands of functions, a minute takes some milliseconds
        return Tallies(int(seconds) % 60, counts)

    async def _tallied(self, minute: int, *, is_over: bool) -> Mapping[str, int]:
        """The counts of one minute, of all shards."""
        if is_over and minute in self._past:
            return self._past[minute]
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for shard in range(self._shards):
                    pipe.hgetall(self._keys.tally(shard, minute))
                replies = await pipe.execute()
        counts: Counter[str] = Counter()
        for reply in replies:
            counts.update({field.decode(): int(count) for field, count in reply.items()})
        if is_over:
            self._past[minute] = counts
        return counts

    async def settled_lately(self, function: str) -> tuple[int, float]:
        """How many jobs of a function have settled in so many minutes. Known for a second: a flood that asks for it
        costs one reading, which all wait for together."""
        now = time.monotonic()
        known = self._settled.get(function)
        if known is None or now - known[0] > 1:
            if len(self._settled) > _FUNCTIONS:
                self._settled.clear()
            task = asyncio.get_running_loop().create_task(self._settled_of(function), context=Context())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            known = self._settled[function] = now, task
        return await asyncio.shield(known[1])

    async def _settled_of(self, function: str) -> tuple[int, float]:
        fields = [f"{function}:{lane}:{what}" for lane in self._lanes for what in ("completed", "failed")]
        with translated():
            seconds, _ = await self._client.time()
            async with self._client.pipeline(transaction=False) as pipe:
                for minute in range(int(seconds) // 60, int(seconds) // 60 - _LATELY - 1, -1):
                    for shard in range(self._shards):
                        pipe.hmget(self._keys.tally(shard, minute), fields)
                replies = await pipe.execute()
        settled = sum(int(count) for reply in replies for count in reply if count is not None)
        return settled, _LATELY + int(seconds) % 60 / 60

    async def place(self, shard: int, name: Name, entry: bytes) -> Place | None:
        """How many jobs of the function are before an entry in its lane; None for one that is not in line there: a
        worker holds it, or it waits for its concurrency key."""
        key = self._keys.lane(shard, *name)
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.xinfo_groups(key)
                pipe.xpending_range(key, GROUP, "-", entry, _PLACES + 1, BACK)
                pipe.xpending(key, GROUP)
                groups, back, pending = await pipe.execute(raise_on_error=False)
            handed_back = [row["message_id"] for row in _rows(back)]
            if entry in handed_back:
                return Place(handed_back.index(entry), exact=True)
            if len(handed_back) > _PLACES:
                return Place(_PLACES, exact=False)
            unread: Any = await self._client.xrange(key, _behind(groups), entry, _PLACES + 1)
        before = 0 if isinstance(pending, Exception) else pending["pending"] - _held(pending)
        if not unread or (len(unread) <= _PLACES and unread[-1][0] != entry):
            return None
        return Place(min(_PLACES, before + len(unread) - 1), exact=unread[-1][0] == entry and before <= _PLACES)

    async def _of(self, shard: int) -> list[tuple[Name, int, int]]:
        streams = await members(self._client, self._keys.lanes(shard))
        names = [(function, lane) for function, _, lane in (stream.partition(":") for stream in streams)]
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for function, lane in names:
                    key = self._keys.lane(shard, function, lane)
                    pipe.xlen(key)
                    pipe.xpending(key, GROUP)
                # a lane whose group no worker has made yet has nothing pending
                replies = await pipe.execute(raise_on_error=False)
        counts = []
        for name, length, pending in zip(names, replies[::2], replies[1::2], strict=True):
            running = 0 if isinstance(pending, Exception) else _held(pending)
            total = 0 if isinstance(length, Exception) else length
            counts.append((name, total - running, running))
        return counts

    async def _oldest_in(self, shard: int, names: Sequence[Name]) -> list[tuple[Name, int]]:
        """The first entry of each lane that no worker holds: unread, handed back, or waiting for its key."""
        keys = [self._keys.lane(shard, *name) for name in names]
        with translated():
            seconds, micros = await self._client.time()
            async with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.xpending_range(key, GROUP, "-", "+", _HELD, HELD)
                replies = await pipe.execute(raise_on_error=False)
                held = [{row["message_id"] for row in _rows(reply)} for reply in replies]
                for key, entries in zip(keys, held, strict=True):
                    pipe.xrange(key, "-", "+", len(entries) + 1)
                firsts = await pipe.execute(raise_on_error=False)
        now = int(seconds) * 1000 + int(micros) // 1000
        ages = []
        for name, entries, reply in zip(names, held, firsts, strict=True):
            waiting = next((entry for entry, _ in _rows(reply) if entry not in entries), None)
            if waiting is not None:
                ages.append((name, max(0, now - int(waiting.partition(b"-")[0]))))
        return ages


def _behind(groups: Any) -> str:
    """Where the entries begin that have not been delivered."""
    rows: Sequence[Mapping[str, Any]] = _rows(groups)
    return f"({rows[0]['last-delivered-id'].decode()}" if rows else "-"


def _rows(reply: Any) -> Sequence[Any]:
    return [] if isinstance(reply, Exception) else reply


def _held(pending: dict[str, Any]) -> int:
    """What workers hold: entries that were handed back wait for the next taker."""
    return sum(c["pending"] for c in pending["consumers"] or () if c["name"] != BACK.encode())
