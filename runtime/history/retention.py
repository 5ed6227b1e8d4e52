"""Deletes what is older than it is to be kept, in parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.history.database import translated
from runtime.history.tables import attempts, jobs

EVERY = "*"  # the function that stands for all that are not named
_PART = 1000  # jobs that one transaction deletes


async def delete_expired(engine: AsyncEngine, kept: Mapping[str, float], now: int) -> int:
    """Deletes jobs that settled longer ago than `kept` says, in seconds by function; returns how many. `now`: Unix
    ms. Raises HistoryUnavailable.
    """
    deleted = 0
    for function, seconds in kept.items():
        others = [name for name in kept if name != EVERY]
        of_function = jobs.c.type.not_in(others) if function == EVERY else jobs.c.type == function
        is_old = jobs.c.finished_at < now - round(seconds * 1000)
        while found := await _delete_part(engine, of_function & is_old):
            deleted += found
    return deleted


async def delete_jobs(engine: AsyncEngine, job_ids: Collection[str]) -> int:
    """Returns how many were there. Raises HistoryUnavailable."""
    found, left = 0, list(job_ids)
    for start in range(0, len(left), _PART):
        found += await _delete_part(engine, jobs.c.id.in_(left[start : start + _PART]))
    return found


async def _delete_part(engine: AsyncEngine, condition: ColumnElement[bool]) -> int:
    with translated():
        async with engine.begin() as connection:
            found: Sequence[str] = (await connection.scalars(select(jobs.c.id).where(condition).limit(_PART))).all()
            if found:
                await connection.execute(delete(attempts).where(attempts.c.job_id.in_(found)))
                await connection.execute(delete(jobs).where(jobs.c.id.in_(found)))
    return len(found)
