"""Changes of jobs as they happen, one stream a shard; waiting for a job to settle, and watching one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from runtime import log
from runtime.errors import StoreError
from runtime.jobs.job import SETTLED, Job
from runtime.store.connect import OVERDUE, Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.rows import Change
from runtime.values import codec, ids

BLOCK_MS = 10_000
_LAST = 999_999  # behind every change of an entry
_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})\.([0-9]{1,6})")
_BEHIND = 100  # changes of one job that a watcher may be behind with


class Position(NamedTuple):
    """Where a change stands in its shard's stream: the entry's id, and its place in the entry."""

    ms: int
    number: int
    place: int

    @classmethod
    def of(cls, entry: bytes, place: int) -> Position:
        ms, _, number = entry.partition(b"-")
        return cls(int(ms), int(number), place)

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """From what `str` made of one."""
        found = _POSITION.fullmatch(text)
        return cls(*map(int, found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}.{self.place}"


class Events:
    """Reads a shard's events from the position at which it was opened."""

    def __init__(self, blocking: Redis, keys: Keys, shard: int) -> None:
        self._blocking = blocking
        self._key = keys.events(shard)
        self._last: bytes | str = "$"

    async def open(self) -> None:
        """Events after this call are read."""
        with translated():
            async with asyncio.timeout(OVERDUE):
                newest = await cast("Any", self._blocking.xrevrange(self._key, count=1))
        self._last = newest[0][0] if newest else "0-0"

    async def read(self) -> list[tuple[Position, Change]]:
        """The next changes; waits for them, at most 10 s. Raises StoreUnavailable where the connection hangs."""
        with translated():
            async with asyncio.timeout(BLOCK_MS / 1000 + OVERDUE):
                reply = await cast("Any", self._blocking.xread({self._key: self._last}, count=100, block=BLOCK_MS))
        changes: list[tuple[Position, Change]] = []
        for _stream, entries in reply or ():
            self._last = entries[-1][0]
            changes += _changes(entries)
        return changes


def _changes(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[tuple[Position, Change]]:
    for entry, fields in entries:
        for place, row in enumerate(codec.unpack(fields[b"jobs"])):
            yield Position.of(entry, place), Change(*row)


class Watch:
    """The changes of one job as they come; it ends if they come faster than they are taken."""

    def __init__(self) -> None:
        self._changes: asyncio.Queue[tuple[Position, Change] | None] = asyncio.Queue(_BEHIND + 1)

    def push(self, change: tuple[Position, Change] | None) -> None:
        """`None` ends it."""
        if self._changes.qsize() < _BEHIND:
            self._changes.put_nowait(change)
        elif not self._changes.full():
            self._changes.put_nowait(None)

    async def next(self, timeout: float) -> tuple[Position, Change] | None:
        """The next change; None once it has ended. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            return await self._changes.get()


class Waiters:
    """Waiting for jobs to settle: one reader a shard serves all waiters, and runs only while there are any."""

    def __init__(self, jobs: Jobs, blocking: Redis, keys: Keys) -> None:
        self._jobs = jobs
        self._blocking = blocking
        self._keys = keys
        self._waiting: dict[int, dict[str, set[asyncio.Future[None]]]] = {}
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._opened: dict[int, asyncio.Task[None]] = {}
        self._watches: dict[int, dict[str, set[Watch]]] = {}

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[Watch]:
        """The job's changes from now on. Raises StoreError."""
        shard, watch = ids.shard_of(job_id), Watch()
        watches = self._watches.setdefault(shard, {})
        watches.setdefault(job_id, set()).add(watch)
        try:
            await self._listen(shard)
            yield watch
        finally:
            watches[job_id].discard(watch)
            if not watches[job_id]:
                del watches[job_id]

    async def newest(self, job_id: str) -> Position:
        """The position behind all changes so far in the job's shard."""
        with translated():
            key = self._keys.events(ids.shard_of(job_id))
            found = await self._blocking.wire.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
        return Position.of(found[0][0], _LAST) if found else Position(0, 0, 0)

    async def since(self, job_id: str, last: Position) -> list[tuple[Position, Change]] | None:
        """The job's changes after `last`, as far as they are kept; None where some may have been dropped."""
        key, first = self._keys.events(ids.shard_of(job_id)), f"{last.ms}-{last.number}"
        with translated():
            oldest, later = await self._blocking.wire.call(
                ("XRANGE", key, "-", "+", "COUNT", 1), ("XRANGE", key, first, "+")
            )
        for reply in (oldest, later):
            if isinstance(reply, Exception):
                raise StoreError(f"Redis refused: {reply}")
        if not oldest or Position.of(oldest[0][0], 0) > last:
            return None
        entries = [(entry, {b"jobs": fields[1]}) for entry, fields in later]
        return [(at, change) for at, change in _changes(entries) if change.id == job_id and at > last]

    async def wait(self, job_id: str, timeout: float) -> Job:
        """The job once it has settled, or as it is after `timeout` seconds.

        Raises JobNotFound, and StoreUnavailable where Redis does not answer.
        """
        job = await self._jobs.get(job_id)
        if job.settled or timeout <= 0:
            return job
        try:
            async with asyncio.timeout(timeout):
                while not job.settled:
                    job = await self._wait_once(job_id)
        except TimeoutError:  # something else than its end may have happened since
            return await self._jobs.get(job_id)
        return job

    async def _wait_once(self, job_id: str) -> Job:
        """The job after a change that may have settled it, or after the reader had trouble."""
        shard = ids.shard_of(job_id)
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(shard, {}).setdefault(job_id, set())
        waiting.add(changed)
        try:
            await self._listen(shard)
            job = await self._jobs.get(job_id)  # it may have settled before the reader was there
            if job.settled:
                return job
            await changed
            return await self._jobs.get(job_id)
        finally:
            self._forget(shard, job_id, changed)

    async def close(self) -> None:
        for task in self._readers.values():
            task.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def _listen(self, shard: int) -> None:
        if shard not in self._readers:
            events = Events(self._blocking, self._keys, shard)
            opened = asyncio.get_running_loop().create_task(events.open())
            self._opened[shard] = opened
            self._readers[shard] = asyncio.create_task(self._read(shard, events, opened))
        await asyncio.shield(self._opened[shard])

    async def _read(self, shard: int, events: Events, opened: asyncio.Task[None]) -> None:
        try:
            await opened
            while self._waiting.get(shard) or self._watches.get(shard):
                for at, change in await events.read():
                    if change.status in SETTLED:
                        self._wake(self._waiting.get(shard, {}).get(change.id, set()))
                    for watch in self._watches.get(shard, {}).get(change.id, ()):
                        watch.push((at, change))
        except StoreError as error:
            log.get("events").warning("store.trouble", role="events", code=error.code, error=str(error))
            for waiting in self._waiting.get(shard, {}).values():
                self._wake(waiting)
            for watches in self._watches.get(shard, {}).values():
                for watch in watches:
                    watch.push(None)
        finally:
            del self._readers[shard]

    def _wake(self, waiting: set[asyncio.Future[None]]) -> None:
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _forget(self, shard: int, job_id: str, settled: asyncio.Future[None]) -> None:
        jobs = self._waiting[shard]
        jobs[job_id].discard(settled)
        if not jobs[job_id]:
            del jobs[job_id]
