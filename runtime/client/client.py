"""The Python client: enqueue, look, wait. The gateway stands on it too.

async with Lanework() as lanework:
    job = await lanework.enqueue("math", {"a": 5, "b": 3})
    print((await lanework.wait(job.id, timeout=10)).result)
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar, overload

from typing_extensions import Unpack

from runtime import metrics, settings
from runtime.client.bulk import Bulk
from runtime.client.contracts import Contracts
from runtime.client.deadline import within
from runtime.client.prepare import Preparer
from runtime.errors import (
    JobNotFound,
    KeyReused,
    LoopChanged,
    NotReady,
    QueueFull,
    StatusConflict,
)
from runtime.handlers.handle import open_clients
from runtime.jobs.job import Job
from runtime.jobs.request import ClientOptions, JobRequest
from runtime.settings import Settings
from runtime.store.batch import GroupCommit
from runtime.store.connect import check_server, connect
from runtime.store.control import Control
from runtime.store.dead import Dead
from runtime.store.events import Waiters
from runtime.store.jobs import Jobs, Refusal
from runtime.store.keys import Keys
from runtime.store.listing import Listing, Page
from runtime.store.registry import Registry, WorkerInfo
from runtime.store.rows import NewJob
from runtime.store.schedules import Schedules
from runtime.store.stats import Stats

Result = TypeVar("Result")


class _Entry(NamedTuple):
    job: NewJob
    stored: asyncio.Future[int | Refusal]


class Submitted(NamedTuple):
    """A job, and whether it is new; one that an idempotency or unique key found is not."""

    job: Job
    new: bool


class Cleared(NamedTuple):
    """How many jobs were cancelled; `partial`: whether more may wait."""

    cancelled: int
    partial: bool


class Lanework:
    """A connection to Lanework. Jobs enqueued at once by several tasks share round trips."""

    def __init__(self, loaded: Settings | None = None) -> None:
        self.settings = loaded or settings.load()
        self._loop: asyncio.AbstractEventLoop | None = None  # whose connections these are
        self._client = connect(self.settings)
        self._blocking = connect(self.settings, timeout=None)
        self._jobs = Jobs(self._client, self.settings)
        self.registry = Registry(self._client, self.settings)
        self.stats = Stats(self._client, self.settings)
        self.dead = Dead(self._client, self.settings, self._jobs)
        self.schedules = Schedules(self._client, self.settings)
        self.contracts = Contracts(self.registry)
        self._control = Control(self._client, self.settings)
        self._listing = Listing(self._client, self.settings, self._jobs)
        self._preparer = Preparer(self.contracts, self.settings)
        self._bulk = Bulk(self.contracts, self._preparer, self._enqueue)
        self._waiters = Waiters(self._jobs, self._blocking, Keys(self.settings.prefix))
        self._commit: GroupCommit[_Entry] = GroupCommit(self._store, weigh=lambda entry: len(entry.job.payload))

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

    async def check(self) -> None:
        """Raises StoreUnavailable, StoreUnsupported or StoreMismatch where jobs could not be served."""
        self._check_event_loop()
        await check_server(self._client, self.settings)

    async def ping(self) -> None:
        """Raises StoreUnavailable unless Redis answers."""
        self._check_event_loop()
        await within(self._jobs.ping())

    async def check_ready(self) -> None:
        """Raises StoreUnavailable where no job could be stored, NotReady while no function is known, or not each of
        those that the settings expect."""
        self._check_event_loop()
        await within(self._jobs.try_write())
        known, expected = await self.contracts.all(), self.settings.expect
        if missing := [name for name in expected if name not in known]:
            raise NotReady(f"no worker has come up yet with {', '.join(missing)}")
        if not known:
            raise NotReady("no function is known yet, because no worker has started")

    async def close(self) -> None:
        await self._waiters.close()
        await self._client.aclose()
        await self._blocking.aclose()

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> Job:
        """Stores one job, or returns the one that its idempotency or unique key found.

        `options`: as `JobRequest` has them: priority, max_attempts, run_at, delay, ttl, start_before,
        backoff, unique, then, key.
        Raises FunctionUnknown, PayloadInvalid, LaneUnknown, JobInvalid, KeyReused, QueueFull,
        StoreUnavailable. After the last, the job may have been stored nevertheless.
        """
        return (await self.submit(JobRequest(type, payload, **options))).job

    async def submit(self, request: JobRequest) -> Submitted:
        """As `enqueue`, and says whether the job is new."""
        self._check_event_loop()
        new = await self._preparer.prepare(request)
        entry = _Entry(new, asyncio.get_running_loop().create_future())
        self._commit.add(entry)
        created = await entry.stored
        if isinstance(created, Refusal):
            return Submitted(await self._refused(new, created), new=False)
        if new.asks is not None or new.extras is not None:
            return Submitted(await self.get(new.id), new=True)
        number = self.settings.lanes.index(new.lane)
        shown = Job(new.id, new.type, new.lane, "pending", request.payload, created, new.max_attempts, number)
        return Submitted(shown, new=True)

    async def enqueue_many(self, type: str, payloads: Iterable[Any], **options: Unpack[ClientOptions]) -> list[str]:
        """Stores jobs by the thousand; returns their ids in order, of equal ones that live (`unique`) theirs.

        The payloads of a sequence are all checked against the schema before any is stored; those of another
        iterable, such as a generator, as they come, and only some are held at once. Raises as `enqueue`; an error's
        `stored` has the ids of those that were stored before it.
        """
        self._check_event_loop()
        return await self._bulk.enqueue(type, payloads, {**options})

    async def cancel(self, job_id: str) -> Job:
        """The job as it is then: cancelled, or still running until its attempt has stopped.

        Raises JobNotFound, and StatusConflict for a job that has settled.
        """
        self._check_event_loop()
        await within(self._control.cancel(job_id))
        return await self.get(job_id)

    async def clear(self, function: str, status: Literal["pending", "scheduled"], seconds: float) -> Cleared:
        """Cancels what waits of a function (`pending`), or waits for its time (`scheduled`), for so many seconds.

        Raises FunctionUnknown.
        """
        self._check_event_loop()
        name = (await self.contracts.get(function)).deployed.name
        deadline, count = time.monotonic() + seconds, 0
        async for cancelled in self._control.clear(name, status):
            count += cancelled
            if time.monotonic() > deadline:
                return Cleared(count, partial=True)
        return Cleared(count, partial=False)

    async def move(
        self,
        job_id: str,
        *,
        run_at: int | str | datetime | None = None,
        delay: float | str | None = None,
    ) -> Job:
        """Lets a scheduled job start at another time; without one, now.

        Raises JobNotFound, StatusConflict, JobInvalid.
        """
        self._check_event_loop()
        asks = JobRequest("", run_at=run_at, delay=delay).asks(None, None) or {}
        await within(self._control.move(job_id, run_at=asks.get("run_at"), delay=asks.get("delay", 0)))
        return await self.get(job_id)

    async def retry(self, job_id: str) -> Job:
        """Runs a failed job again, with its history kept. Raises JobNotFound, StatusConflict."""
        self._check_event_loop()
        await within(self.dead.replay(job_id))
        return await self.get(job_id)

    async def pause(self, *, function: str | None = None, lane: str | None = None) -> None:
        """Stops taking jobs of a function or a lane, or any; what runs finishes, and new jobs wait.

        Raises FunctionUnknown, LaneUnknown.
        """
        self._check_event_loop()
        await within(self._control.pause(await self._pause_targets(function, lane)))

    async def resume(self, *, function: str | None = None, lane: str | None = None) -> None:
        """Ends such a pause. Raises FunctionUnknown, LaneUnknown."""
        self._check_event_loop()
        await within(self._control.resume(await self._pause_targets(function, lane)))

    async def paused(self) -> list[str]:
        """What is paused: `*`, `function:NAME`, `lane:NAME`."""
        self._check_event_loop()
        return await within(self._control.paused())

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        self._check_event_loop()
        return await within(self._jobs.get(job_id))

    @overload
    async def wait(self, job: Job[Result], timeout: float) -> Job[Result]: ...
    @overload
    async def wait(self, job: str, timeout: float) -> Job: ...
    async def wait(self, job: Job[Any] | str, timeout: float) -> Job[Any]:
        """The job, or the one with this id, once it has settled, or as it is after `timeout` seconds.

        Raises JobNotFound.
        """
        self._check_event_loop()
        return await self._waiters.wait(job if isinstance(job, str) else job.id, timeout)

    async def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Page:
        """Jobs from newest to oldest, scheduled ones (`status`) from the soonest on.

        Raises ValueError for a cursor that was not given here.
        """
        self._check_event_loop()
        if status == "scheduled":
            return await within(self._listing.scheduled(limit=limit, cursor=cursor, type=type))
        return await within(self._listing.page(limit=limit, cursor=cursor, type=type, status=status))

    async def workers(self) -> Sequence[WorkerInfo]:
        """Those alive: each says so every 3 s, and is gone after 15 s of silence."""
        self._check_event_loop()
        return await within(self.registry.workers())

    def _check_event_loop(self) -> None:
        """Raises LoopChanged on another event loop than before."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise LoopChanged
            self._loop = loop

    async def _pause_targets(self, function: str | None, lane: str | None) -> list[str]:
        """What a pause names; a function with all its names."""
        what = [] if lane is None else [f"lane:{self.settings.lane(lane)}"]
        if function is not None:
            serves = (await self.contracts.get(function)).deployed.serves
            every = (await within(self.contracts.all())).values()
            what += [f"function:{one.deployed.name}" for one in every if one.deployed.serves == serves]
        return what or ["*"]

    async def _refused(self, new: NewJob, refusal: Refusal) -> Job:
        """The job that is there already. Raises KeyReused, QueueFull, StatusConflict (its record is gone)."""
        if refusal.verdict == "full":
            raise QueueFull(new.type, refusal.waiting)
        if refusal.verdict == "differs":
            raise KeyReused(refusal.other)
        try:
            return await self.get(refusal.other)
        except JobNotFound:
            message = (
                f"this was asked for before: job {refusal.other} has settled, and its record is kept no longer"
            )
            raise StatusConflict(message) from None

    async def _enqueue(self, batch: list[NewJob]) -> tuple[int, dict[str, Refusal]]:
        created, refused = await self._jobs.enqueue(batch)
        for (function, lane), count in Counter(
            (job.type, job.lane) for job in batch if job.id not in refused
        ).items():
            metrics.ENQUEUED.labels(function, lane).inc(count)
        return created, refused

    async def _store(self, entries: list[_Entry]) -> None:
        try:
            created, refused = await self._enqueue([entry.job for entry in entries])
        except Exception as error:
            # those that came meanwhile would only wait for the same answer
            for entry in [*entries, *self._commit.take_waiting()]:
                if not entry.stored.done():
                    entry.stored.set_exception(error)
            return
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_result(refused.get(entry.job.id, created) if refused else created)
