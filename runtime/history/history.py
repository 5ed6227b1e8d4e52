"""History as clients use it: opened with the first question."""

from __future__ import annotations

from runtime.history.bucket import Bucket, Span
from runtime.history.database import open_engine
from runtime.history.figures import figures
from runtime.history.queries import Queries


class History(Queries):
    """The database that has what Redis has forgotten."""

    def __init__(self, url: str) -> None:
        """Raises SettingsInvalid."""
        super().__init__(open_engine(url))

    async def past(self, span: Span, after: int, before: int, function: str | None) -> list[Bucket]:
        """See `figures`."""
        return await figures(self._engine, span, after, before, function)

    async def close(self) -> None:
        await self._engine.dispose()
