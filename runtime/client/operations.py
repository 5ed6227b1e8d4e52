"""What an operator does to jobs and queues: cancel, clear, move, retry, pause, replay, purge."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from typing import Literal, NamedTuple

from runtime.client.connection import Connection, every_type
from runtime.client.deadline import each_within, within
from runtime.errors import JobNotFound
from runtime.jobs import built_in, tags
from runtime.jobs.job import Job, Status
from runtime.jobs.request import JobRequest, unique_digest
from runtime.store.pages import Page
from runtime.values.shards import Shards


class Cleared(NamedTuple):
    """How many jobs were cancelled; `partial`: whether more may wait."""

    cancelled: int
    partial: bool


class Tagged(NamedTuple):
    """How many jobs of a tag had a status that was asked for, and how many of them were cancelled, or told to stop;
    `partial`: whether more may be left."""

    matched: int
    cancelled: int
    partial: bool


class Operations(Connection):
    """Changes by hand."""

    async def cancel(self, job_id: str) -> Job:
        """The job as it is then: cancelled, or still running until its attempt has stopped.

        Raises JobNotFound, and StatusConflict for a job that has settled.
        """
        self._check_event_loop()
        await within(self._store.operations.cancel(job_id))
        return await within(self._store.jobs.get(job_id))

    async def cancel_tree(
        self, job_id: str, seconds: float, *, visible: Callable[[str], bool] = every_type
    ) -> Cleared:
        """Cancels a job, unless it has settled, and all that it has started, for so many seconds; not callbacks,
        which tell of that. `visible`: of which types.

        Raises JobNotFound.
        """
        self._check_event_loop()
        parts = self._store.operations.cancel_tree(job_id, lambda kind: kind != built_in.CALLBACK and visible(kind))
        return await _within(seconds, parts)

    async def cancel_tagged(
        self,
        tag: str,
        statuses: Collection[Status],
        seconds: float,
        *,
        dry_run: bool = False,
        visible: Callable[[str], bool] = every_type,
    ) -> Tagged:
        """Cancels the jobs that have a tag (`name:value`) and one of these statuses, for so many seconds.

        `dry_run`: only counts them. `visible`: of which types. Raises ValueError for what is no tag.
        """
        self._check_event_loop()
        tags.parse_one(tag)
        deadline, matched, cancelled = time.monotonic() + seconds, 0, 0
        parts = self._store.operations.cancel_tagged(tag, statuses, visible, dry_run=dry_run)
        async for found, stopped in each_within(parts):
            matched, cancelled = matched + found, cancelled + stopped
            if time.monotonic() > deadline:
                return Tagged(matched, cancelled, partial=True)
        return Tagged(matched, cancelled, partial=False)

    async def find_unique(self, function: str, key: str) -> Job:
        """The job of a function that waits or runs under a unique key.

        Raises FunctionUnknown, and JobNotFound where none does.
        """
        deployed = await self.function(function)
        try:
            digest = unique_digest(key)
        except UnicodeEncodeError:
            raise JobNotFound(key) from None
        shard = Shards(self.settings.shards).pinned(deployed.serves)
        return await within(self._store.jobs.by_unique(shard, deployed.name, digest))

    async def clear(self, function: str, status: Literal["pending", "scheduled"], seconds: float) -> Cleared:
        """Cancels a function's jobs that are pending, or scheduled, for so many seconds.

        Raises FunctionUnknown.
        """
        name = (await self.function(function)).name
        return await _within(seconds, self._store.operations.clear(name, status))

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
        terms = JobRequest("", run_at=run_at, delay=delay).terms(None, None) or {}
        await within(self._store.operations.move(job_id, run_at=terms.get("run_at"), delay=terms.get("delay", 0)))
        return await within(self._store.jobs.get(job_id))

    async def retry(self, job_id: str) -> Job:
        """Runs a failed job again, with its history kept. Raises JobNotFound, StatusConflict."""
        self._check_event_loop()
        await within(self._store.dead.replay(job_id))
        return await within(self._store.jobs.get(job_id))

    async def pause(self, *, function: str | None = None, lane: str | None = None) -> None:
        """Stops taking jobs of a function or a lane, or any; what runs finishes, and new jobs wait.

        Raises FunctionUnknown, LaneUnknown.
        """
        await within(self._store.operations.pause(await self._pause_targets(function, lane)))

    async def resume(self, *, function: str | None = None, lane: str | None = None) -> None:
        """Ends such a pause. Raises FunctionUnknown, LaneUnknown."""
        await within(self._store.operations.resume(await self._pause_targets(function, lane)))

    async def paused(self) -> list[str]:
        """What is paused: `*`, `function:NAME`, `lane:NAME`."""
        self._check_event_loop()
        return await within(self._store.operations.paused())

    async def dead(self, function: str, *, limit: int = 50, offset: int = 0) -> Page:
        """A function's failed jobs, the newest first; the page's cursor is the next `offset`.

        Raises FunctionUnknown.
        """
        name = (await self.function(function)).name
        return await within(self._store.dead.page(name, limit, offset))

    async def replay(
        self, function: str, fits: Callable[[Job], bool], *, every: float = 0.0, limit: int | None = None
    ) -> int:
        """Runs a function's failed jobs that fit again, the oldest first; returns how many.

        `every`: seconds from one to the next, so that a thousand do not start at once. Raises FunctionUnknown.
        """
        name = (await self.function(function)).name
        parts = self._store.dead.replay_all(name, fits, every=every, limit=limit)
        return sum([count async for count in each_within(parts)])

    async def purge(self, function: str, fits: Callable[[Job], bool], *, limit: int | None = None) -> int:
        """Deletes a function's failed jobs that fit; returns how many. Raises FunctionUnknown."""
        name = (await self.function(function)).name
        return sum([count async for count in each_within(self._store.dead.purge(name, fits, limit=limit))])

    async def _pause_targets(self, function: str | None, lane: str | None) -> list[str]:
        """The names that a pause stores; for a function, all its names."""
        self._check_event_loop()
        targets = [] if lane is None else [f"lane:{self.settings.lane(lane)}"]
        if function is not None:
            serves = (await self.function(function)).serves
            targets += [f"function:{d.name}" for d in (await self.functions()).values() if d.serves == serves]
        return targets or ["*"]


async def _within(seconds: float, parts: AsyncIterator[int]) -> Cleared:
    deadline, count = time.monotonic() + seconds, 0
    async for cancelled in each_within(parts):
        count += cancelled
        if time.monotonic() > deadline:
            return Cleared(count, partial=True)
    return Cleared(count, partial=False)
