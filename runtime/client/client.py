"""The Python client: enqueue, look, wait. The gateway stands on it too.

async with Lanework() as lanework:
    job = await lanework.enqueue("math", {"a": 5, "b": 3})
    print((await lanework.wait(job.id, timeout=10)).result)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, overload

from typing_extensions import Unpack

from runtime import metrics, tracing
from runtime.client.bulk import Bulk, Stored, submit_many
from runtime.client.changes import Changes
from runtime.client.connection import every_type
from runtime.client.counts import Counts
from runtime.client.lists import JobQuery, Lists
from runtime.client.operations import Operations
from runtime.client.prepare import Preparer
from runtime.client.publishing import Published, publish
from runtime.client.watching import Watching
from runtime.errors import JobNotFound, KeyReused, LaneworkError, QueueFull, StatusConflict
from runtime.handlers.handle import open_clients
from runtime.jobs.event import Event
from runtime.jobs.job import Job
from runtime.jobs.request import ClientOptions, JobRequest
from runtime.settings import Settings
from runtime.store.group_commit import GroupCommit
from runtime.store.jobs import Refusal
from runtime.store.pages import Page
from runtime.store.rows import NewJob
from runtime.values import ids
from runtime.values.clock import now_ms, rfc3339

Result = TypeVar("Result")


class _Entry(NamedTuple):
    job: NewJob
    stored: asyncio.Future[int | Refusal]


def _weight(entry: _Entry) -> int:
    return len(entry.job.payload) + len(entry.job.extras or b"")


class Submitted(NamedTuple):
    """A job, and whether it is new; one that an idempotency or unique key found is not.

    `warnings`: what a lenient request got in place of what it asked for.
    """

    job: Job
    new: bool
    warnings: Sequence[str] = ()


class Lanework(Operations, Counts, Watching, Changes):
    """A connection to Lanework. Jobs enqueued at once by several tasks share round trips."""

    def __init__(self, loaded: Settings | None = None) -> None:
        super().__init__(loaded)
        self._preparer = Preparer(self._contracts, self.settings)
        self._bulk = Bulk(self._contracts, self._preparer, self._enqueue)
        # one a shard: jobs do not wait for a primary that their own shard does not need
        self._commits: dict[int, GroupCommit[_Entry]] = {}

    async def __aenter__(self) -> Lanework:
        """Raises StoreError where the server cannot serve."""
        try:
            await self.check()
        except BaseException:
            await self.close()
            raise
        open_clients.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        open_clients.remove(self)
        await self.close()

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> Job:
        """Stores one job, or returns the one that its idempotency or unique key found.

        `options`: as `JobRequest` has them: priority, max_attempts, run_at, delay, ttl, start_before,
        backoff, unique, then, key.
        Raises FunctionUnknown, PayloadInvalid, LaneUnknown, JobInvalid, KeyReused, QueueFull,
        StoreUnavailable. After the last, the job may have been stored nevertheless.
        """
        return (await self.submit(JobRequest(type, payload, **options))).job

    async def submit(self, request: JobRequest, *, lenient: bool = False) -> Submitted:
        """As `enqueue`, and reports whether the job is new.

        `lenient`: a lane that is not there becomes the default lane, and a warning.
        """
        self._check_event_loop()
        warnings: Sequence[str] = ()
        if lenient:
            request, warnings = self._preparer.on_known_lane(request)
        with tracing.producing(request.type):
            new = await self._preparer.prepare(request)
            entry = _Entry(new, asyncio.get_running_loop().create_future())
            self._commit(ids.shard_of(new.id)).add(entry)
            created = await entry.stored
        if isinstance(created, Refusal):
            return Submitted(await self._refused(new, created), False, warnings)
        if new.terms is not None or new.extras is not None:
            return Submitted(await self.get(new.id), True, warnings)
        number = self.settings.lanes.index(new.lane)
        shown = Job(new.id, new.type, new.lane, "pending", request.payload, created, new.max_attempts, number)
        return Submitted(shown, True, warnings)

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Stored | LaneworkError]:
        """Stores jobs of any functions with one script call a shard. What was refused has its error in its place.

        Raises nothing for a single job; where Redis does not answer, each has that error.
        """
        self._check_event_loop()
        with tracing.producing("jobs", len(requests)):
            return await submit_many(requests, self._preparer, self._enqueue)

    async def enqueue_many(
        self,
        type: str,
        payloads: Iterable[Any],
        *,
        keys: Iterable[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> list[str]:
        """Stores jobs by the thousand; returns ids in order, for a duplicate (`unique`) the living job's.

        `keys`: an idempotency key for each payload.

        The payloads of a sequence are all checked against the schema before any is stored; those of another
        iterable, such as a generator, as they come, and only some are held at once. Raises as `enqueue`; an error's
        `stored` has the ids of those that were stored before it.
        """
        self._check_event_loop()
        with tracing.producing(type, len(payloads) if isinstance(payloads, Sized) else 0):
            return await self._bulk.enqueue(type, payloads, {**options}, keys)

    async def publish(
        self,
        type: str,
        data: Any = None,
        *,
        source: str = "lanework",
        id: str | None = None,
        **attributes: str | int | bool | None,
    ) -> Published:
        """Publishes an event: each function that subscribes to it gets a job with `data` as its payload.

        `source` and `id` name the event; within 24 hours, the same two again are the same event, and no subscriber
        gets it twice. `attributes`: the others that CloudEvents has (subject, time, …), and extensions.
        Raises EventInvalid, PayloadInvalid for data that cannot be stored, QueueFull, StoreUnavailable; after the
        last two, publish it again with the same id.
        """
        event_id = ids.new_id(0) if id is None else id
        event = Event.of({"time": rfc3339(now_ms()), **attributes, "type": type, "source": source, "id": event_id})
        (published,) = await self.publish_many([(event, data)])
        if isinstance(published, LaneworkError):
            raise published
        return published

    async def publish_many(
        self, events: Sequence[tuple[Event, Any]], *, visible: Callable[[str], bool] = every_type
    ) -> list[Published | LaneworkError]:
        """Publishes events with their data, with one script call a shard; one that was refused has its error in its
        place. `visible`: to the functions of which names."""
        self._check_event_loop()
        with tracing.producing("events", len(events)):
            return await publish(events, self._contracts, self._preparer, self._enqueue, visible)

    async def get(self, job_id: str) -> Job:
        """The job, from history where Redis has forgotten it. Raises JobNotFound, HistoryUnavailable."""
        self._check_event_loop()
        try:
            return await self._store.jobs.get(job_id)  # which has a time of its own
        except JobNotFound:
            if self._history is None:
                raise
            return await self._history.get(job_id)

    @overload
    async def wait(self, job: Job[Result], timeout: float) -> Job[Result]: ...
    @overload
    async def wait(self, job: str, timeout: float) -> Job: ...
    async def wait(self, job: Job[Any] | str, timeout: float) -> Job[Any]:
        """The job, or the one with this id, once it has settled, or as it is after `timeout` seconds.

        Raises JobNotFound.
        """
        self._check_event_loop()
        job_id = job if isinstance(job, str) else job.id
        try:
            return await self._store.waiters.wait(job_id, timeout)
        except JobNotFound:
            if self._history is None:
                raise
            return await self._history.get(job_id)

    async def page(self, **query: Unpack[JobQuery]) -> Page:
        """Jobs from newest to oldest, scheduled ones (`status`) from the soonest on.

        Raises ValueError for a cursor that was not given here, and for a tag or a time that is none; HistoryMissing
        where only a history could tell, and HistoryUnavailable.
        """
        self._check_event_loop()
        return await Lists(self._store, self._history).page(query)

    async def _refused(self, new: NewJob, refusal: Refusal) -> Job:
        """The job that is there already. Raises KeyReused, QueueFull, StatusConflict (its record is gone)."""
        if refusal.verdict == "full":
            raise QueueFull(new.type, refusal.waiting, await self._seconds_to_room(new.type))
        if refusal.verdict == "differs":
            raise KeyReused(refusal.other)
        try:
            return await self.get(refusal.other)
        except JobNotFound:
            message = (
                f"this was asked for before: job {refusal.other} has settled, and its record is kept no longer"
            )
            raise StatusConflict(message) from None

    async def _seconds_to_room(self, function: str) -> int:
        try:
            return await self.retry_after(function)
        except LaneworkError:  # what is to be said is that the queue is full
            return 1

    async def _enqueue(self, batch: list[NewJob]) -> tuple[int, dict[str, Refusal]]:
        created, refused = await self._store.jobs.enqueue(batch)
        for (function, lane), count in Counter(
            (job.type, job.lane) for job in batch if job.id not in refused
        ).items():
            metrics.ENQUEUED.labels(function, lane).inc(count)
        return created, refused

    def _commit(self, shard: int) -> GroupCommit[_Entry]:
        commit = self._commits.get(shard)
        if commit is None:
            commit = self._commits[shard] = GroupCommit(partial(self._commit_entries, shard), weigh=_weight)
        return commit

    async def _commit_entries(self, shard: int, entries: list[_Entry]) -> None:
        try:
            created, refused = await self._enqueue([entry.job for entry in entries])
        except Exception as error:
            # entries that arrived meanwhile would only wait for the same error
            for entry in [*entries, *self._commits[shard].take_waiting()]:
                if not entry.stored.done():
                    entry.stored.set_exception(error)
            return
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_result(refused.get(entry.job.id, created) if refused else created)
