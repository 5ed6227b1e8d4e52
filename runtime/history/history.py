"""History as clients use it: opened with the first question."""

from __future__ import annotations

from runtime.history.database import open_engine
from runtime.history.queries import Queries
from runtime.jobs.job import Job


class History:
    """The database that has what Redis has forgotten."""

    def __init__(self, url: str) -> None:
        """Raises SettingsInvalid."""
        self._engine = open_engine(url)
        self._queries = Queries(self._engine)

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound, HistoryUnavailable."""
        return await self._queries.get(job_id)

    async def close(self) -> None:
        await self._engine.dispose()
