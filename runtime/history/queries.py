"""What history answers."""

from __future__ import annotations

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
        if not ids.is_id(job_id):
            raise JobNotFound(job_id)
        with translated():
            async with self._engine.connect() as connection:
                found = await connection.scalar(select(jobs.c.job).where(jobs.c.id == job_id))
        if found is None:
            raise JobNotFound(job_id)
        return unpacked(found)
