"""Enqueues within the caller's own database transaction.

with engine.begin() as connection:
    connection.execute(insert(orders), …)
    outbox.add(connection, "email", {"to": "ann@example.com"})

The row that `add` writes is committed, or rolled back, with the rest of the transaction; `lanework outbox run`
moves it to Redis, once. `lanework outbox migrate` makes the table.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from typing_extensions import Unpack

from runtime.jobs.request import ClientOptions, JobRequest
from runtime.values import codec, ids

TABLE = "lanework_outbox"
_COLUMNS = ("id", "request", "made_at")
_MARKS = {"qmark": "?", "format": "%s", "pyformat": "%s", "numeric": ":{n}", "named": ":{name}"}  # PEP 249


def add(connection: Any, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> str:
    """Writes a request for a job, and returns the row's id. The job has it as its idempotency key, unless `key`
    gives one.

    `connection`: SQLAlchemy's Connection or Session (of an async one, `await connection.run_sync(add, …)`), or one
    of the DB-API, such as psycopg's or sqlite3's. `options`: as `Lanework.enqueue` has them; a delay counts from
    when the row is moved.

    Raises JobInvalid; TypeError or ValueError for a payload that cannot be stored. Whether it fits the function
    shows when the row is moved: `lanework outbox ls` has those that do not.
    """
    request = JobRequest(type, payload, **options)
    request.check()
    codec.pack_shown(payload)
    row = (ids.new_id(0), codec.pack(request.as_options()), time.time_ns() // 1_000_000)
    if hasattr(connection, "cursor"):
        _insert(connection, row)
    else:
        from sqlalchemy import text

        connection.execute(
            text(_statement([f":{name}" for name in _COLUMNS])), dict(zip(_COLUMNS, row, strict=True))
        )
    return row[0]


def _insert(connection: Any, row: tuple[str, bytes, int]) -> None:
    module = sys.modules[type(connection).__module__.partition(".")[0]]
    style = getattr(module, "paramstyle", "format")
    marks = [_MARKS[style].format(n=n, name=name) for n, name in enumerate(_COLUMNS, 1)]
    cursor = connection.cursor()
    try:
        cursor.execute(_statement(marks), dict(zip(_COLUMNS, row, strict=True)) if style == "named" else row)
    finally:
        cursor.close()


def _statement(marks: list[str]) -> str:
    return f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({', '.join(marks)})"
