"""Watching a job: what happens to it, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple

from runtime.client.connection import Connection
from runtime.client.deadline import within
from runtime.jobs.job import SETTLED, Job
from runtime.store.events import Position, Watch

Kind = Literal["status", "progress", "settled", "gap", "alive"]


class JobEvent(NamedTuple):
    """`status`: the job has another status. `progress`: a report came. `settled`: it is over. `gap`: events between
    the position asked for and now are not kept any more. `alive`: nothing has happened for a while.

    `position`: to go on from. `job`: as it is now.
    """

    kind: Kind
    position: Position
    job: Job


class Watching(Connection):
    """Events of jobs."""

    async def watch(self, job_id: str, after: str | None = None, *, alive: float = 15.0) -> AsyncIterator[JobEvent]:
        """The job's events: its status now, each further change, and its end, which is the last.

        `after`: the position of an earlier event, as text, to go on from without a gap or a repetition. `alive`:
        seconds without an event until one says so. It also ends where its taker is slower than the job's changes.
        Raises JobNotFound, StoreUnavailable.
        """
        self._check_event_loop()
        job = await within(self._store.jobs.get(job_id))
        async with self._store.waiters.watch(job_id) as watch:
            last = None if after is None else Position.parse(after)
            missed = None if last is None else await self._store.waiters.since(job_id, last)
            if last is None or missed is None:
                last = await self._store.waiters.newest(job_id)
                job = await within(self._store.jobs.get(job_id))
                if after is not None:
                    yield JobEvent("gap", last, job)
                yield JobEvent("settled" if job.settled else "status", last, job)
                if job.settled:
                    return
            for position, change in missed or ():
                last = position
                yield await self._event(position, change)
                if change.status in SETTLED:
                    return
            async for event in self._following(watch, job, last, alive):
                yield event

    async def _following(self, watch: Watch, job: Job, last: Position, alive: float) -> AsyncIterator[JobEvent]:
        while True:
            try:
                following = await watch.next(alive)
            except TimeoutError:
                yield JobEvent("alive", last, job)
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

    async def _event(self, position: Position, change: Any) -> JobEvent:
        kind: Kind = "progress" if change.status == "progress" else "status"
        job = await within(self._store.jobs.get(change.id))
        return JobEvent("settled" if change.status in SETTLED else kind, position, job)
