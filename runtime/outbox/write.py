"""Enqueues within the caller's own database transaction.

with engine.begin() as connection:
    connection.execute(insert(orders), …)
    outbox.add(connection, "email", {"to": "ann@example.com"})

The row that `add` writes is committed, or rolled back, with the rest of the transaction; `lanework outbox run`
moves it to Redis, once. `lanework outbox migrate` makes the table.
"""

from __future__ import annotations

import inspect
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
    request.payload = codec.unpack_any(codec.pack_shown(payload))  # a generator gives its values once
    row = (ids.new_id(0), codec.pack(request.as_options()), time.time_ns() // 1_000_000)
    if hasattr(connection, "cursor"):
        _insert(connection, row)
    else:
        from sqlalchemy import text

        statement = text(_statement([f":{name}" for name in _COLUMNS]))
        _refuse_async(connection.execute(statement, dict(zip(_COLUMNS, row, strict=True))))
    return row[0]


def _insert(connection: Any, row: tuple[str, bytes, int]) -> None:
    module = sys.modules[type(connection).__module__.partition(".")[0]]
    style = getattr(module, "paramstyle", "format")
    marks = [_MARKS[style].format(n=n, name=name) for n, name in enumerate(_COLUMNS, 1)]
    cursor = connection.cursor()
    _refuse_async(cursor)
    try:
        values = dict(zip(_COLUMNS, row, strict=True)) if style == "named" else row
        _refuse_async(cursor.execute(_statement(marks), values))
    finally:
        _refuse_async(cursor.close())


def _refuse_async(result: Any) -> None:
    """What an async connection gives does nothing until it is awaited. Raises TypeError."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("this connection is async: await connection.run_sync(outbox.add, …), as SQLAlchemy has it")


def _statement(marks: list[str]) -> str:
    return f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({', '.join(marks)})"
