"""Writes settled jobs: each once, however often it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from sqlalchemy import Table, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.history.database import translated
from runtime.history.retention import delete_expired
from runtime.history.rows import rows, stripped
from runtime.history.tables import attempts, jobs
from runtime.jobs.job import Job


class Writer:
    """Upserts on a database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite has one writer: another waits for it by trying again
        is_sqlite = engine.dialect.name == "sqlite"
        self._turn: AbstractAsyncContextManager[Any] = asyncio.Lock() if is_sqlite else nullcontext()
        insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._jobs = _newer_wins(insert(jobs))
        self._attempts = insert(attempts).on_conflict_do_nothing()  # one that has ended does not change

    async def write(self, settled: Sequence[Job], *, searched: bool = True) -> None:
        """In one transaction; a job that is there already stays unless this is a later end of it. `searched`:
        whether what is searched is written too.

        Raises HistoryUnavailable: then nothing was written.
        """
        both = [rows(job) for job in {job.id: job for job in settled}.values()]
        made = [own if searched else stripped(own) for own, _ in both]
        tried = [row for _, own in both for row in own]
        with translated():
            async with self._turn, self._engine.begin() as connection:
                await connection.execute(self._jobs, made)
                if tried:
                    await connection.execute(self._attempts, tried)

    async def delete_expired(self, kept: Mapping[str, float], now: int) -> int:
        """See `retention.delete_expired`."""
        return await delete_expired(self._engine, kept, now)


def _newer_wins(insert: Any) -> Any:
    """A job that was replayed ends again; what was read of its end before may be written after that."""
    new, table = insert.excluded, jobs
    changed = {column.name: new[column.name] for column in _columns(table) if column.name != "id"}
    is_newer = tuple_(new.attempt, new.finished_at) >= tuple_(table.c.attempt, table.c.finished_at)
    return insert.on_conflict_do_update(index_elements=["id"], set_=changed, where=is_newer)


def _columns(table: Table) -> list[Any]:
    return list(table.columns)
