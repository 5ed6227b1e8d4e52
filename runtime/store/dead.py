"""Failed jobs, kept for replay: listing them, running them again, deleting them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from runtime.errors import JobNotFound, StatusConflict
from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.connect import Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.pages import PAGE_BYTES, Page
from runtime.store.record import shown_status
from runtime.store.rows import Again, Deleted
from runtime.values import codec
from runtime.values.shards import Shards

_BATCH = 200
_MAX_DELAY_MS = 100 * 365 * 86_400_000  # ms from now


class Dead:
    """The failed jobs of every function, in all shards."""

    def __init__(self, client: Redis, settings: Settings, jobs: Jobs) -> None:
        self._client = client
        self._settings = settings
        self._jobs = jobs
        self._keys = Keys(settings.prefix)
        self._shards = Shards(settings.shards)

    async def count(self, functions: Sequence[str]) -> dict[str, int]:
        """How many failed jobs each of the functions has."""
        shards = range(self._settings.shards)
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for name, shard in itertools.product(functions, shards):
                    pipe.zcard(self._keys.dead(shard, name))
                counts = await pipe.execute()
        step = len(shards)
        return {name: sum(counts[i * step : (i + 1) * step]) for i, name in enumerate(functions)}

    async def page(self, function: str, limit: int, offset: int = 0) -> Page:
        """The function's failed jobs, the newest first; the cursor is the next page's offset."""
        rows: list[tuple[float, bytes]] = []
        for shard in range(self._settings.shards):
            with translated():
                found = await cast(
                    "Any",
                    self._client.zrevrange(
                        self._keys.dead(shard, function), 0, offset + limit - 1, withscores=True
                    ),
                )
            rows += [(at, job_id) for job_id, at in found]
        rows.sort(reverse=True)
        wanted = [job_id.decode() for _, job_id in rows[offset : offset + limit]]
        listed = await self._jobs.listed(wanted, PAGE_BYTES)
        left = listed.read < len(wanted) or len(wanted) == limit
        return Page(listed.jobs, str(offset + listed.read) if left else None, listed.read < len(wanted))

    async def replay(self, job_id: str) -> None:
        """Runs a failed job again: it keeps its id and history, and has fresh attempts.

        Raises JobNotFound, and StatusConflict for one that has not failed, or whose duplicate lives.
        """
        (verdict,) = await self._replay(self._shards.of(job_id), [Again(job_id, 0)])
        if verdict is None:
            raise JobNotFound(job_id)
        if verdict == b"duplicate":
            raise StatusConflict("a job with the same unique key is waiting or running")
        if verdict != b"replayed":
            raise StatusConflict(f"the job is {shown_status(verdict)}; only a failed one can be run again")

    async def replay_all(
        self, function: str, fits: Callable[[Job], bool], *, every: float = 0.0, limit: int | None = None
    ) -> AsyncIterator[int]:
        """Replays the function's failed jobs that match, the oldest of each shard first.

        Yields how many in each part. `every`: seconds from one to the next, so that a thousand do not start
        at once.
        """
        replayed = 0
        async for shard, batch in self._each(function, fits, limit):
            rows = [
                Again(job.id, min(_MAX_DELAY_MS, int((replayed + i) * every * 1000))) for i, job in enumerate(batch)
            ]
            count = (await self._replay(shard, rows)).count(b"replayed")
            replayed += count
            yield count

    async def purge(
        self, function: str, fits: Callable[[Job], bool], *, limit: int | None = None
    ) -> AsyncIterator[int]:
        """Deletes the function's failed jobs that match; yields how many in each part."""
        async for shard, batch in self._each(function, fits, limit):
            packed = codec.pack_batch([Deleted(function, job.id) for job in batch])
            yield await scripts.PURGE(self._client, self._keys.root(shard), packed)

    async def _replay(self, shard: int, rows: Sequence[Again]) -> list[Any]:
        replies: list[Any] = await scripts.REPLAY(self._client, self._keys.root(shard), codec.pack_batch(rows))
        return replies

    async def _each(
        self, function: str, fits: Callable[[Job], bool], limit: int | None
    ) -> AsyncIterator[tuple[int, list[Job]]]:
        """The jobs that match, by shard and batch; a shard's ids are read when its turn comes."""
        left = limit
        for shard in range(self._settings.shards):
            key = self._keys.dead(shard, function)
            with translated():
                found = await cast("Any", self._client.zrange(key, 0, self._settings.dead_limit))
            for start in range(0, len(found), _BATCH):
                jobs = await self._jobs.listed([job_id.decode() for job_id in found[start : start + _BATCH]])
                batch = [job for job in jobs.jobs if job.status == "failed" and fits(job)][:left]
                if batch:
                    yield shard, batch
                if left is not None:
                    left -= len(batch)
                    if left <= 0:
                        return
