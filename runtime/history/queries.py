"""What history answers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import JobNotFound
from runtime.history.database import translated
from runtime.history.rows import unpacked
from runtime.history.tables import jobs
from runtime.jobs.job import Job
from runtime.values import ids


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

    async def get_many(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those that are there, by id; up to some thousand. Raises HistoryUnavailable."""
        with translated():
            async with self._engine.connect() as connection:
                found = await connection.scalars(select(jobs.c.job).where(jobs.c.id.in_(job_ids)))
        return {job.id: job for job in map(unpacked, found)}
