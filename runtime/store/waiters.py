"""Waiting for jobs to settle, and watching them, by one reader a shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import Context

from runtime import log
from runtime.errors import StoreError
from runtime.jobs.job import SETTLED, Job
from runtime.store.connect import Redis
from runtime.store.events import Events, Position
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.rows import Change
from runtime.values import ids

_BEHIND = 100  # changes of one job that a watcher may be behind with
_ALL_BEHIND = 10_000  # the same of all jobs


class Watch:
    """Changes as they come; it ends if they come faster than they are taken."""

    def __init__(self, behind: int) -> None:
        """`behind`: how many changes its taker may be behind with."""
        self._behind = behind
        self._changes: asyncio.Queue[tuple[Position, Change] | None] = asyncio.Queue(behind + 1)

    def push(self, change: tuple[Position, Change]) -> None:
        if self._changes.qsize() < self._behind:
            self._changes.put_nowait(change)
        else:
            self.end()

    def end(self) -> None:
        if not self._changes.full():
            self._changes.put_nowait(None)

    async def next(self, timeout: float) -> tuple[Position, Change] | None:
        """The next change; None once it has ended. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            return await self._changes.get()


class Waiters:
    """One reader a shard serves all who wait and watch, and runs only while there are any."""

    def __init__(self, jobs: Jobs, blocking: Redis, keys: Keys) -> None:
        self._jobs = jobs
        self._blocking = blocking
        self._keys = keys
        self._waiting: dict[int, dict[str, set[asyncio.Future[None]]]] = {}
        self._watches: dict[int, dict[str, set[Watch]]] = {}
        self._watches_of_all: set[Watch] = set()
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._opened: dict[int, asyncio.Task[None]] = {}
        self._released = False

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[Watch]:
        """The job's changes from now on. Raises StoreError."""
        shard, watch = ids.shard_of(job_id), Watch(_BEHIND)
        watches = self._watches.setdefault(shard, {})
        watches.setdefault(job_id, set()).add(watch)
        try:
            await self._listen(shard)
            if self._released:
                watch.end()
            yield watch
        finally:
            watches[job_id].discard(watch)
            if not watches[job_id]:
                del watches[job_id]

    @asynccontextmanager
    async def watch_all(self, shards: Iterable[int]) -> AsyncIterator[Watch]:
        """The changes of all jobs from now on. Raises StoreError."""
        watch = Watch(_ALL_BEHIND)
        self._watches_of_all.add(watch)
        try:
            for shard in shards:
                await self._listen(shard)
            if self._released:
                watch.end()
            yield watch
        finally:
            self._watches_of_all.discard(watch)

    def events(self, job_id: str) -> Events:
        """The events of the job's shard, to look back into."""
        return self.events_of(ids.shard_of(job_id))

    def events_of(self, shard: int) -> Events:
        """A shard's events, to look back into."""
        return Events(self._blocking, self._keys, shard)

    async def wait(self, job_id: str, timeout: float) -> Job:
        """The job once it has settled, or as it is after `timeout` seconds.

        Raises JobNotFound, and StoreUnavailable where Redis does not answer.
        """
        job = await self._jobs.get(job_id)
        if timeout <= 0:
            return job
        try:
            async with asyncio.timeout(timeout):
                while not job.settled and not self._released:
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

    def release(self) -> None:
        """Ends every wait and watch, now and from now on: waits with the job as it is."""
        self._released = True
        for shard in self._readers:
            self._wake_all(shard)

    async def close(self) -> None:
        for task in self._readers.values():
            task.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def _listen(self, shard: int) -> None:
        if shard not in self._readers:
            events = Events(self._blocking, self._keys, shard)
            # for all who wait: not a part of the request that came first
            opened = asyncio.get_running_loop().create_task(events.open(), context=Context())
            self._opened[shard] = opened
            self._readers[shard] = asyncio.get_running_loop().create_task(
                self._read(shard, events, opened), context=Context()
            )
        await asyncio.shield(self._opened[shard])

    async def _read(self, shard: int, events: Events, opened: asyncio.Task[None]) -> None:
        try:
            await opened
            while self._waiting.get(shard) or self._watches.get(shard) or self._watches_of_all:
                for at, change in await events.read():
                    if change.status in SETTLED:
                        _wake(self._waiting.get(shard, {}).get(change.id, set()))
                    for watch in self._watches.get(shard, {}).get(change.id, ()):
                        watch.push((at, change))
                    for watch in self._watches_of_all:
                        watch.push((at, change))
        except StoreError as error:
            log.get("events").warning("store.trouble", role="events", code=error.code, error=str(error))
            self._wake_all(shard)
        finally:
            del self._readers[shard]

    def _wake_all(self, shard: int) -> None:
        for waiting in self._waiting.get(shard, {}).values():
            _wake(waiting)
        for watches in (*self._watches.get(shard, {}).values(), self._watches_of_all):
            for watch in watches:
                watch.end()

    def _forget(self, shard: int, job_id: str, settled: asyncio.Future[None]) -> None:
        jobs = self._waiting[shard]
        jobs[job_id].discard(settled)
        if not jobs[job_id]:
            del jobs[job_id]


def _wake(waiting: set[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
