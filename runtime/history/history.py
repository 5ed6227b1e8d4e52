"""History as clients use it: opened with the first question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from runtime.history.bucket import Bucket, Span
from runtime.history.database import open_engine
from runtime.history.figures import figures
from runtime.history.queries import Queries
from runtime.history.search import Search
from runtime.jobs.job import Job
from runtime.store.listing import Page


class History:
    """The database that has what Redis has forgotten."""

    def __init__(self, url: str) -> None:
        """Raises SettingsInvalid."""
        self._engine = open_engine(url)
        self._queries = Queries(self._engine)

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound, HistoryUnavailable."""
        return await self._queries.get(job_id)

    async def looks(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """See `Queries.looks`."""
        return await self._queries.looks(job_ids)

    async def first(self, job_ids: Sequence[str], byte_limit: int, left_out: Collection[str]) -> dict[str, Job]:
        """See `Queries.first`."""
        return await self._queries.first(job_ids, byte_limit, left_out)

    async def page(
        self,
        search: Search,
        limit: int,
        left_out: Collection[str] = (),
        fits: Callable[[Job], bool] = lambda _: True,
    ) -> Page:
        """See `Queries.page`."""
        return await self._queries.page(search, limit, left_out, fits)

    async def past(self, span: Span, after: int, before: int, function: str | None) -> list[Bucket]:
        """See `figures`."""
        return await figures(self._engine, span, after, before, function)

    async def close(self) -> None:
        await self._engine.dispose()
