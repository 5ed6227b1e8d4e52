"""Changes of jobs as they happen, one stream a shard, and waiting for a job to settle."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from runtime import log
from runtime.errors import StoreError
from runtime.jobs.job import SETTLED, Job
from runtime.store.connect import OVERDUE, Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.rows import Change
from runtime.values import codec, ids

BLOCK_MS = 10_000


class Events:
    """Reads a shard's events from where it was opened on."""

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

    async def read(self) -> list[Change]:
        """The next changes; waits for them, at most 10 s. Raises StoreUnavailable where the connection hangs."""
        with translated():
            async with asyncio.timeout(BLOCK_MS / 1000 + OVERDUE):
                reply = await cast("Any", self._blocking.xread({self._key: self._last}, count=100, block=BLOCK_MS))
        changes: list[Change] = []
        for _stream, entries in reply or ():
            self._last = entries[-1][0]
            for _entry, fields in entries:
                changes += [Change(*row) for row in codec.unpack(fields[b"jobs"])]
        return changes


class Waiters:
    """Waiting for jobs to settle: one reader a shard serves all waiters, and runs only while there are any."""

    def __init__(self, jobs: Jobs, blocking: Redis, keys: Keys) -> None:
        self._jobs = jobs
        self._blocking = blocking
        self._keys = keys
        self._waiting: dict[int, dict[str, set[asyncio.Future[None]]]] = {}
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._opened: dict[int, asyncio.Task[None]] = {}

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
            while self._waiting.get(shard):
                for change in await events.read():
                    if change.status in SETTLED:
                        self._wake(self._waiting.get(shard, {}).get(change.id, set()))
        except StoreError as error:
            log.get("events").warning("store.trouble", role="events", code=error.code, error=str(error))
            for waiting in self._waiting.get(shard, {}).values():
                self._wake(waiting)
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
