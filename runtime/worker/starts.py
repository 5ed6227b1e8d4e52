"""The jobs that an attempt starts if it completes: made ready, and staged in parts where they are many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from runtime import metrics
from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.client.publishing import request_of
from runtime.errors import StoreError, StoreUnavailable
from runtime.jobs.event import Publication
from runtime.jobs.request import check_started
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Taken
from runtime.store.rows import NewJob
from runtime.values import ids
from runtime.worker.attempt import Attempt, Requested

_PART = 250  # jobs, which keep the server for some 10 ms
_PART_BYTES = 1 << 20
_PAUSE = 0.2

Answer = TypeVar("Answer")
Stage = Callable[[Taken, int, Sequence[NewJob]], Awaitable[bool]]


class Lost(Exception):
    """The attempt is no longer this worker's."""


class Starts:
    """Prepares the jobs that handlers start."""

    def __init__(self, preparer: Preparer, contracts: Contracts, stage: Stage) -> None:
        self._preparer = preparer
        self._contracts = contracts
        self._stage = stage

    async def prepare(self, attempt: Attempt) -> tuple[Sequence[NewJob], NewJob | None]:
        """The jobs that go with the settlement, and the one that follows; where they are many, all are staged.

        Raises Lost, and what `Preparer.prepare` does.
        """
        taken, follow_up = attempt.taken, attempt.follow_up
        after = None if follow_up is None else await self._ready(taken.id, follow_up)
        join = None if after is None else taken.id
        part: list[NewJob] = []
        size = total = 0
        async for job in self._jobs(attempt, join):
            if len(part) == _PART or size > _PART_BYTES:
                await self._stage_part(attempt, part)
                part, size = [], 0
            octets = len(job.payload) + len(job.extras or b"")
            size, total = size + octets, total + octets
            check_started(total)
            part.append(job)
        if attempt.staged:
            await self._stage_part(attempt, part)
            part = []
        return part, after

    async def _jobs(self, attempt: Attempt, join: str | None) -> AsyncIterator[NewJob]:
        """One for each that was asked for, and one for each subscriber of each event."""
        job_id = attempt.taken.id
        for own_id, request in attempt.requested:
            if not isinstance(request, Publication):
                yield await self._ready(job_id, (own_id, request), join)
                continue
            jobs = await patiently(partial(self._subscribed, request, job_id))
            metrics.EVENTS.labels("delivered" if jobs else "unclaimed").inc()
            for job in jobs:
                yield job

    async def _subscribed(self, published: Publication, job_id: str) -> list[NewJob]:
        event, data = published.event, published.data
        return [
            await self._preparer.prepare_subscribed(request_of(event, data, c.deployed.name), c, job_id)
            for c in await self._contracts.subscribers(event)
        ]

    async def _ready(self, job_id: str, requested: Requested, join: str | None = None) -> NewJob:
        child_id, request = requested
        job = await patiently(lambda: self._preparer.prepare(request, beside=job_id, join=join))
        return job._replace(id=child_id)

    async def _stage_part(self, attempt: Attempt, part: Sequence[NewJob]) -> None:
        number = attempt.staged
        attempt.staged += 1
        if not await patiently(lambda: self._stage(attempt.taken, number, part)):
            raise Lost


async def patiently(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Waits while Redis is away: the handler has done its work and must not run again because of that."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(_PAUSE)


class Staging:
    """The parts that wait in Redis. One call at a time: many attempts keep the server no longer than one."""

    def __init__(self, stores: Mapping[int, AttemptStore]) -> None:
        self._stores = stores
        self._turn = asyncio.Lock()
        self._starting: set[asyncio.Task[None]] = set()

    async def stage(self, taken: Taken, part: int, jobs: Sequence[NewJob]) -> bool:
        """As `AttemptStore.stage`."""
        async with self._turn:
            return await self._stores[ids.shard_of(taken.id)].stage(taken, part, jobs)

    def start(self, job_id: str) -> None:
        """Begins to start what a completed job has staged; if this worker dies, the sweeper goes on."""
        task = asyncio.create_task(self._start_all(job_id))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def idle_within(self, seconds: float) -> None:
        """Waits, for at most that long, until everything has been started."""
        if self._starting:
            await asyncio.wait(self._starting, timeout=seconds)

    def close(self) -> None:
        """Leaves what is still to be started to others."""
        for task in self._starting:
            task.cancel()

    async def _start_all(self, job_id: str) -> None:
        store, left = self._stores[ids.shard_of(job_id)], 1
        with contextlib.suppress(StoreError):
            while left:
                async with self._turn:
                    left = await store.start(job_id)
