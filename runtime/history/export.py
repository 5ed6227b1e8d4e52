"""Writes history as NDJSON, one job a line as the gateway shows it."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.history.queries import Queries
from runtime.history.search import Search
from runtime.jobs.job import Job
from runtime.values import codec

_PAGE = 500


async def export(
    engine: AsyncEngine, search: Search, to: Path | None, progress: Callable[[int], None] = lambda _: None
) -> int:
    """The newest jobs first, to a file (gzip where its name ends in .gz), else to standard output; returns how
    many. `progress`: gets how many so far. Raises HistoryUnavailable."""
    count = 0
    with _opened(to) as file:
        async for job in Queries(engine).each(search, _PAGE):
            file.write(_line(job))
            count += 1
            if count % _PAGE == 0:
                progress(count)
    return count


def _line(job: Job) -> bytes:
    try:
        return codec.to_json(job.to_json()) + b"\n"
    except (TypeError, ValueError, RecursionError):
        return codec.to_json(job.to_safe_json()) + b"\n"


@contextmanager
def _opened(to: Path | None) -> Iterator[Any]:
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with gzip.open(to, "wb") if to.suffix == ".gz" else to.open("wb") as file:
        yield file
