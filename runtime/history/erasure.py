"""Erases jobs on request, from Redis and from history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import HistoryUnavailable
from runtime.history.queries import Queries
from runtime.history.retention import delete_jobs
from runtime.history.search import Search
from runtime.store.store import Store

_WITHIN = 30.0  # seconds for what an archiver has read to be written
_PAGE = 500
_CLOCK = 0.002  # seconds to which ages are known


async def find(store: Store, engine: AsyncEngine, search: Search) -> list[str]:
    """Ids of all settled jobs that fit. Raises HistoryUnavailable, also where history is behind: what it does not
    have yet would be missed."""
    await _until_caught_up(store)
    queries = Queries(engine)
    return [job.id async for job in queries.each(search, _PAGE)]


async def erase(store: Store, engine: AsyncEngine, job_ids: Sequence[str]) -> tuple[int, list[str]]:
    """Erases settled jobs; returns how many there were, and the ids of those that have not settled, which stay.

    Raises StoreError, HistoryUnavailable.
    """
    erased, alive = await store.jobs.erase(job_ids)
    left = [job_id for job_id in job_ids if job_id not in alive]
    # what an archiver read before that would bring them back: it is waited for
    await _until_written(store)
    archived = {job.id for job in (await Queries(engine).get_many(left)).values()}
    await delete_jobs(engine, left)
    return len(archived | erased), sorted(alive)


async def _until_caught_up(store: Store) -> None:
    """Until history has what had settled by now. Raises HistoryUnavailable."""
    begun = time.monotonic()
    elapsed = 0.0  # when Redis was asked: what has waited for longer had settled by `begun`
    while (lag := await store.archive.lag()) is not None and lag.entries and lag.seconds + _CLOCK > elapsed:
        if elapsed > _WITHIN:
            raise HistoryUnavailable(
                f"history is {lag.seconds:.0f} s behind: what it does not have yet would be missed"
            )
        await asyncio.sleep(0.05)
        elapsed = time.monotonic() - begun


async def _until_written(store: Store) -> None:
    """Until what archivers have read by now is written. Raises HistoryUnavailable."""
    before, deadline = await store.archive.in_flight(), time.monotonic() + _WITHIN
    while before & await store.archive.in_flight():
        if time.monotonic() > deadline:
            raise HistoryUnavailable(
                "an archiver has had jobs in hand for half a minute; see its log, and erase again"
            )
        await asyncio.sleep(0.05)
