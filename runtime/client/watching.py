"""Watching a job: what happens to it, as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, NamedTuple

from runtime.client.connection import Connection
from runtime.client.deadline import within
from runtime.jobs.job import SETTLED, Job
from runtime.store.events import Position
from runtime.store.record import shown_status
from runtime.store.rows import Change
from runtime.store.waiters import Watch
from runtime.values.shards import Shards

Kind = Literal["status", "progress", "settled", "gap", "alive"]


class JobEvent(NamedTuple):
    """`status`: the job has another status. `progress`: a report came. `settled`: it is over. `gap`: events between
    the position asked for and now are no longer kept. `alive`: nothing has happened for a while.

    `id`: the job's. `position`: to go on from. `status` and `attempt`: as the event left them. `progress`: the
    newest report. `job`: the whole job, once it has settled.
    """

    kind: Kind
    id: str
    position: Position
    status: str = ""
    attempt: int = 0
    progress: Any = None
    job: Job | None = None


class Watching(Connection):
    """Events of jobs."""

    async def watch(
        self, job_id: str, after: str | None = None, *, alive: float = 15.0
    ) -> AsyncGenerator[JobEvent]:
        """The job's events: its status now, each further change, and its end, which is the last.

        `after`: the position of an earlier event, as text, to go on from without a gap or a repetition; nothing
        comes after the job's end. `alive`: seconds without an event until one says so. It also ends where its
        taker is slower than the job's changes. Raises JobNotFound, StoreUnavailable.
        """
        self._check_event_loop()
        Shards(self.settings.shards).of(job_id)  # raises for what is no id
        async with self._store.waiters.watch(job_id) as watch:
            events = self._store.waiters.events(job_id)
            last = None if after is None else Position.parse(after)
            # the position before the job, and the job before what was missed: a change between the two comes again
            # rather than never
            newest = await within(events.newest())
            job = await within(self._store.jobs.get(job_id))
            missed = None if last is None else await within(events.since(last))
            if last is None or missed is None:
                last = newest
                if after is not None:
                    yield JobEvent("gap", job_id, last)
                yield _state(job, last)
                missed = []
            else:
                missed = [(at, change) for at, change in missed if change.id == job_id]
                if not missed and not job.settled:
                    yield JobEvent("alive", job_id, last)
            for position, change in missed:
                last = position
                yield await self._event(position, change)
                if change.status in SETTLED:  # it may have come since the job was read
                    return
            if not job.settled:  # else its end was seen before
                async for event in self._following(job_id, watch, last, alive):
                    yield event

    def release(self) -> None:
        """Ends every wait and watch, now and from now on, each with its job as it is: this process leaves."""
        self._store.waiters.release()

    async def _following(self, job_id: str, watch: Watch, last: Position, alive: float) -> AsyncIterator[JobEvent]:
        while True:
            try:
                following = await watch.next(alive)
            except TimeoutError:
                yield JobEvent("alive", job_id, last)
                continue
            if following is None:
                return
            position, change = following
            if position <= last:  # it was among the missed, or before the look
                continue
            last = position
            yield await self._event(position, change)
            if change.status in SETTLED:
                return

    async def _event(self, position: Position, change: Change) -> JobEvent:
        if change.status == "progress":
            report = await within(self._store.jobs.progress(change.id))
            return JobEvent("progress", change.id, position, "running", change.attempt, report)
        if change.status in SETTLED:
            return _state(await within(self._store.jobs.get(change.id)), position)
        return JobEvent("status", change.id, position, shown_status(change.status.encode()), change.attempt)


def _state(job: Job, position: Position) -> JobEvent:
    if job.settled:
        return JobEvent("settled", job.id, position, job.status, job.attempt, job.progress, job)
    return JobEvent("status", job.id, position, job.status, job.attempt, job.progress)
