"""Listing the jobs that wait for their time, from the due set."""

from __future__ import annotations

import re
from typing import Any, cast

from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import pages
from runtime.store.connect import Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.pages import EVERY, Page, Wanted
from runtime.values import ids

_DUE = re.compile(r"due-([0-9]{1,15})-(.{36})")


class ScheduledJobs:
    """The jobs of all shards that wait for their time, a page at a time."""

    def __init__(self, client: Redis, settings: Settings, jobs: Jobs) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._jobs = jobs

    async def page(self, *, limit: int, cursor: str | None = None, wanted: Wanted = EVERY) -> Page:
        """Jobs that wait for their time, the soonest first; a retry waits for its time too.

        Raises ValueError for a cursor not given here.
        """
        place = _due_place(cursor)
        jobs: list[Job] = []
        left: float = pages.PAGE_BYTES
        for _ in range(pages.SCAN_LIMIT // pages.SCAN_PAGE):
            rows = await self._due(place, pages.SCAN_PAGE)
            listed = await self._jobs.listed([job_id for _, job_id in rows], left, wanted.left_out)
            found = {job.id: job for job in listed.jobs}
            for place in rows[: listed.read]:
                job = found.get(place[1])
                if job is not None and job.status == "scheduled" and wanted.has(job):
                    jobs.append(job)
                    if len(jobs) == limit:
                        return Page(jobs, _due_cursor(place))
            left -= listed.octets
            if listed.read < len(rows) or left < 0:
                break
            if len(rows) < pages.SCAN_PAGE:
                return Page(jobs, None)
        return Page(jobs, _due_cursor(place), partial=True)

    async def _due(self, after: tuple[int, str], count: int) -> list[tuple[int, str]]:
        """(Unix ms, id) of the next jobs that wait for their time, of all shards."""
        rows: list[tuple[int, str]] = []
        for shard in range(self._settings.shards):
            rows += await self._due_in(shard, after, count)
        return sorted(rows)[:count]

    async def _due_in(self, shard: int, after: tuple[int, str], count: int) -> list[tuple[int, str]]:
        rows: list[tuple[int, str]] = []
        offset = 0  # among those of the same millisecond, which come in the order of their ids
        while len(rows) < count:
            with translated():
                found = await cast(
                    "Any",
                    self._client.zrange(
                        self._keys.due(shard),
                        after[0],
                        "+inf",
                        byscore=True,
                        offset=offset,
                        num=count,
                        withscores=True,
                    ),
                )
            rows += [row for job_id, at in found if (row := (int(at), job_id.decode())) > after]
            if len(found) < count:
                break
            offset += count
        return rows


def _due_place(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    found = _DUE.fullmatch(cursor)
    if not found or not ids.is_id(found[2]):
        raise ValueError("not a cursor of this list")
    return int(found[1]), found[2]


def _due_cursor(place: tuple[int, str]) -> str:
    return f"due-{place[0]}-{place[1]}"
