"""What history answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import JobNotFound
from runtime.history.database import translated
from runtime.history.rows import unpacked
from runtime.history.search import Search, has_long_texts, statement
from runtime.history.tables import jobs
from runtime.jobs.job import Job
from runtime.store.pages import PAGE_BYTES, SCAN_LIMIT, Page
from runtime.values import ids

_WITHIN = 20.0  # seconds for an answer
_BUFFERED = 50  # rows that are read ahead: each may have megabytes
_CURSOR = re.compile(r"([0-9]{1,15})-(.{36})")


class Queries:
    """Questions to a database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound, HistoryUnavailable."""
        found = await self.get_many([job_id]) if ids.is_id(job_id) else {}
        if job_id not in found:
            raise JobNotFound(job_id)
        return found[job_id]

    async def get_many(self, job_ids: Sequence[str], left_out: Collection[str] = ()) -> dict[str, Job]:
        """Those that are there, by id; up to some thousand. `left_out`: fields that are not shown. Raises
        HistoryUnavailable."""
        with translated():
            async with asyncio.timeout(_WITHIN), self._engine.connect() as connection:
                found = await connection.scalars(select(jobs.c.job).where(jobs.c.id.in_(job_ids)))
        return {job.id: _without(job, left_out) for job in map(unpacked, found)}

    async def looks(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Each job by its id, with type, lane, status and when it was made alone. Raises HistoryUnavailable."""
        c = jobs.c
        with translated():
            async with asyncio.timeout(_WITHIN), self._engine.connect() as connection:
                found = select(c.id, c.type, c.lane, c.status, c.created_at).where(c.id.in_(job_ids))
                rows = (await connection.execute(found)).all()
        return {row.id: Job(row.id, row.type, row.lane, row.status, None, row.created_at, 0) for row in rows}

    async def first(
        self, job_ids: Sequence[str], byte_limit: int, left_out: Collection[str] = ()
    ) -> dict[str, Job]:
        """The first of the jobs, that have no more bytes in all, at least one. Raises HistoryUnavailable."""
        with translated():
            async with asyncio.timeout(_WITHIN), self._engine.connect() as connection:
                sizes = select(jobs.c.id, func.length(jobs.c.job)).where(jobs.c.id.in_(job_ids))
                octets = {row[0]: row[1] for row in await connection.execute(sizes)}
        chosen: list[str] = []
        for job_id in job_ids:
            byte_limit -= octets.get(job_id, 0)
            if chosen and byte_limit < 0:
                break
            chosen.append(job_id)
        return await self.get_many(chosen, left_out)

    async def each(self, search: Search, page: int) -> AsyncIterator[Job]:
        """All jobs that fit, the newest first, read in pages. Raises HistoryUnavailable."""
        at: str | None = None
        while True:
            found = await self.page(replace(search, below=None if at is None else place(at)), page)
            for job in found.jobs:
                yield job
            at = found.cursor
            if at is None:
                return

    async def page(
        self,
        search: Search,
        limit: int,
        left_out: Collection[str] = (),
        fits: Callable[[Job], bool] = lambda _: True,
    ) -> Page:
        """The newest jobs first. `left_out`: fields that it does not show. `fits`: a further condition. A page may
        come short (`partial`): it looks at 10,000 rows, and some 4 MiB of jobs. Raises HistoryUnavailable."""
        found: list[Job] = []
        octets, looked = 0, 0
        with translated():
            async with asyncio.timeout(_WITHIN), self._engine.connect() as connection:
                found_rows = statement(search, self._engine.dialect.name, SCAN_LIMIT)
                async for row in await connection.stream(
                    found_rows, execution_options={"max_row_buffer": _BUFFERED}
                ):
                    job = unpacked(row.job)
                    looked, octets = looked + 1, octets + len(row.job)
                    if fits(job) and has_long_texts(search, job):
                        found.append(_without(job, left_out))
                    if len(found) == limit or octets > PAGE_BYTES or looked == SCAN_LIMIT:
                        return Page(found, cursor(row.created_at, row.id), len(found) < limit)
        return Page(found, None)


def _without(job: Job, left_out: Collection[str]) -> Job:
    gone: dict[str, Any] = {name: None for name in left_out if getattr(job, name) is not None}
    return replace(job, **gone, omitted=tuple(gone)) if gone else job


def cursor(created_at: int, job_id: str) -> str:
    """Where the next page begins: behind this job."""
    return f"{created_at}-{job_id}"


def place(text: str) -> tuple[int, str]:
    """From a cursor. Raises ValueError for one that was not given here."""
    found = _CURSOR.fullmatch(text)
    if not found or not ids.is_id(found[2]):
        raise ValueError("not a cursor of this list")
    return int(found[1]), found[2]
