"""Throughput, failures, waits and run times of the past, by function and hour or day."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.history.bucket import PERCENTS, SPAN_MS, Bucket, Span
from runtime.history.database import translated
from runtime.history.rows import clean
from runtime.history.tables import attempts, jobs

_WITHIN = 30.0  # seconds for an answer


async def figures(engine: AsyncEngine, span: Span, after: int, before: int, function: str | None) -> list[Bucket]:
    """Of what settled from `after` on and before `before` (Unix ms), by time and function; days are of UTC. Raises
    HistoryUnavailable."""
    found: dict[tuple[int, str], Bucket] = {}

    def bucket(row: Any) -> Bucket:
        key = (row.number, row.type)
        if key not in found:
            found[key] = Bucket(row.type, row.number * SPAN_MS[span])
        return found[key]

    run, wait = attempts.c.ended_at - attempts.c.started_at, attempts.c.waited
    with translated():
        async with asyncio.timeout(_WITHIN), engine.connect() as connection:
            for row in await connection.execute(_counts(span, after, before, function)):
                bucket(row).counts[row.status] = row.count
            for name, measured in (("run", run), ("wait", wait)):
                for row in await connection.execute(_percentiles(measured, span, after, before, function)):
                    setattr(bucket(row), name, {percent: getattr(row, f"p{percent}") for percent in PERCENTS})
    return [found[key] for key in sorted(found)]


def _counts(span: Span, after: int, before: int, function: str | None) -> Select[Any]:
    number = _number(jobs.c.finished_at, span)
    within = _within(jobs.c.type, jobs.c.finished_at, after, before, function)
    counted = select(jobs.c.type, number.label("number"), jobs.c.status, func.count().label("count"))
    return counted.where(within).group_by(jobs.c.type, number, jobs.c.status)


def _percentiles(measured: Any, span: Span, after: int, before: int, function: str | None) -> Select[Any]:
    """SQLite has no function for it: the rows in their order, and of these the ones at the ranks."""
    c = attempts.c
    number = _number(c.ended_at, span)
    by: Any = {"partition_by": (c.type, number)}
    ranked = (
        select(
            c.type,
            number.label("number"),
            measured.label("ms"),
            func.row_number().over(order_by=measured, **by).label("rank"),
            func.count().over(**by).label("count"),
        )
        .where(_within(c.type, c.ended_at, after, before, function), measured.is_not(None))
        .subquery()
    )
    at = {percent: (ranked.c.count * percent + 99) // 100 for percent in PERCENTS}
    columns = [
        func.max(case((ranked.c.rank == at[percent], ranked.c.ms))).label(f"p{percent}") for percent in PERCENTS
    ]
    return select(ranked.c.type, ranked.c.number, *columns).group_by(ranked.c.type, ranked.c.number)


def _number(column: Any, span: Span) -> ColumnElement[int]:
    return column // literal(SPAN_MS[span], Integer)  # type: ignore[no-any-return]


def _within(type: Any, time: Any, after: int, before: int, function: str | None) -> ColumnElement[bool]:
    own = [] if function is None else [type == clean(function)]
    return and_(time >= after, time < before, *own)
