"""Settled jobs on their way into history: a stream that scripts append to while there is one, read by a group."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import record, scripts
from runtime.store.cluster import Cluster
from runtime.store.connect import OVERDUE, Redis, translated
from runtime.store.keys import HELD, HISTORY, Keys
from runtime.store.rows import Archived, Unarchived
from runtime.values import codec

_PART = 200  # records that are read with one write: a millisecond or two of the server
_ABANDONED_MS = 10_000  # after which another takes over what one has read and not taken off


class Entry(NamedTuple):
    """What one script call settled."""

    shard: int
    id: bytes
    jobs: Sequence[Unarchived]


class Lag(NamedTuple):
    """How far history is behind: entries that wait, and for how many seconds the oldest has."""

    entries: int
    seconds: float


class Archive:
    """The archive streams of all shards. All who read share one consumer: what one leaves, the next takes over."""

    def __init__(self, client: Redis, blocking: Redis, settings: Settings) -> None:
        self._client = client
        self._redis: Any = client  # whose types know neither bytes nor answers
        self._blocking: Any = blocking
        self._keys = Keys(settings.prefix)
        self._settings = settings
        self._shards = range(settings.shards)
        self._wait = settings.history_wait
        self._reading: dict[int, asyncio.Task[list[Entry]]] = {}

    async def start(self, wait: float) -> None:
        """From now on settled jobs wait for history, for `wait` seconds at most. Raises StoreError."""
        self._wait = wait
        with translated():
            await self._mark()

    async def is_on(self) -> bool:
        """Whether settled jobs wait for history."""
        with translated():
            return bool(await self._redis.exists(self._keys.archiving(self._shards[-1])))

    async def stop(self) -> None:
        """There is no history any more: nothing waits for it. What waits is dropped."""
        with translated():
            for shard in self._shards:
                await self._client.delete(self._keys.archiving(shard), self._keys.archive(shard))

    async def next(self, count: int, timeout: float) -> list[Entry]:
        """Up to `count` entries of each shard that nobody has read; waits for one, at most `timeout` seconds."""
        if not isinstance(self._redis, Cluster):
            return await self._read_from(self._shards, count, timeout)
        for shard in self._shards:  # a cluster reads one shard a call
            if shard not in self._reading:
                self._reading[shard] = asyncio.create_task(self._read_from([shard], count, timeout))
        try:
            await asyncio.wait(self._reading.values(), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for reading in self._reading.values():
                reading.cancel()
            self._reading.clear()
            raise
        read = [self._reading.pop(shard) for shard, task in [*self._reading.items()] if task.done()]
        failed = [task for task in read if task.exception() is not None]
        found = [entry for task in read if task not in failed for entry in task.result()]
        return found if found or not failed else failed[0].result()  # which raises

    async def _read_from(self, shards: Iterable[int], count: int, timeout: float) -> list[Entry]:
        streams = {self._keys.archive(shard): ">" for shard in shards}
        options: Any = {"count": count, "block": max(1, round(timeout * 1000))}
        with translated():
            try:
                async with asyncio.timeout(timeout + OVERDUE):
                    found = await self._blocking.xreadgroup(HISTORY, HELD, streams, **options)
            except ResponseError as error:
                await self._mark_again(error)
                return []
        by_key = {self._keys.archive(shard).encode(): shard for shard in shards}
        return [entry for key, rows in found or () for entry in _entries(by_key[key], rows)]

    async def abandoned(self, count: int) -> list[Entry]:
        """Up to `count` entries of each shard that were read ten seconds ago, and not taken off since."""
        taken: list[Entry] = []
        with translated():
            for shard in self._shards:
                key = self._keys.archive(shard)
                try:
                    reply = await self._redis.xautoclaim(key, HISTORY, HELD, _ABANDONED_MS, count=count)
                except ResponseError as error:
                    await self._mark_again(error)
                    continue
                taken += _entries(shard, reply[1])
        return taken

    async def jobs(self, shard: int, ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now; None where the record has gone."""
        found: list[Job | None] = []
        for start in range(0, len(ids), _PART):
            part = ids[start : start + _PART]
            commands = [("HGETALL", self._keys.job(shard, job_id)) for job_id in part]
            with translated():
                for job_id, flat in zip(part, await self._client.wire.call(*commands), strict=True):
                    if isinstance(flat, Exception):
                        raise flat
                    found.append(self._read(job_id, flat))
        return found

    async def taken(self, shard: int, entries: Iterable[bytes], shorter: Sequence[Archived]) -> None:
        """Takes entries off the stream: history has their jobs. `shorter`: those whose records need not stay as
        long as they would have waited."""
        args = (codec.pack_batch(list(entries)), codec.pack_batch(list(shorter)))
        await scripts.ARCHIVED(self._client, self._keys.root(shard), *args)

    async def in_flight(self) -> set[tuple[int, bytes]]:
        """Shard and id of entries that have been read and are not taken off, 10,000 of each shard at most."""
        found: set[tuple[int, bytes]] = set()
        with translated():
            for shard in self._shards if await self.is_on() else ():
                rows = await self._redis.xpending_range(self._keys.archive(shard), HISTORY, "-", "+", 10_000)
                found |= {(shard, row["message_id"]) for row in rows}
        return found

    async def lag(self) -> Lag | None:
        """None where there is no history. Raises StoreError."""
        entries, oldest = 0, None
        if not await self.is_on():
            return None
        with translated():
            seconds, micros = await self._redis.time()
            now = seconds + micros / 1e6
            for shard in self._shards:
                key = self._keys.archive(shard)
                entries += await self._redis.xlen(key)
                for entry_id, _ in await self._redis.xrange(key, count=1):
                    since = int(entry_id.partition(b"-")[0]) / 1000
                    oldest = since if oldest is None else min(oldest, since)
        return Lag(entries, 0.0 if oldest is None else max(0.0, now - oldest))

    def _read(self, job_id: str, flat: Sequence[bytes]) -> Job | None:
        each = iter(flat)
        fields = dict(zip(each, each, strict=True))
        if b"payload" not in fields:
            return None
        return record.read(job_id, fields, self._settings.lanes)

    async def _mark_again(self, error: ResponseError) -> None:
        """After the server was emptied, or a replica without these keys took over. Raises any other error."""
        if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
            raise error
        await self._mark()

    async def _mark(self) -> None:
        for shard in self._shards:
            await self._make_group(shard)
            await self._client.set(self._keys.archiving(shard), round(self._wait * 1000))

    async def _make_group(self, shard: int) -> None:
        try:
            await self._client.xgroup_create(self._keys.archive(shard), HISTORY, "0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _entries(shard: int, rows: Any) -> list[Entry]:
    """Those that were trimmed meanwhile have no fields."""
    return [
        Entry(shard, entry_id, [Unarchived(*row) for row in codec.unpack_stream(fields[b"jobs"])[0]])
        for entry_id, fields in rows
        if fields
    ]
