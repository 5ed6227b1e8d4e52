"""Moves rows of the outbox to Redis, each exactly once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime import log
from runtime.client.client import Lanework
from runtime.errors import HistoryUnavailable, JobInvalid, LaneworkError, StoreError
from runtime.history.database import translated
from runtime.history.rows import clean
from runtime.jobs.request import JobRequest
from runtime.outbox.table import rows
from runtime.outbox.write import TABLE
from runtime.values import codec
from runtime.values.clock import now_ms

_PART = 500  # rows of one transaction
_LOOK = 0.2  # seconds between looks where nothing tells of rows
_LISTEN = 5.0  # seconds where PostgreSQL does
_PAUSE, _LONGEST = 0.1, 5.0  # seconds before it tries again
_LONGEST_REFUSED = 60_000  # ms before a row that was refused is tried again


class Relay:
    """One of the processes that move rows; on PostgreSQL several share them.

    A row's id is its job's idempotency key. So a row that was moved, and whose deletion was not committed, finds
    its job there the next time, for as long as idempotency keys are kept (LANEWORK_KEEP_KEYS, a day).
    """

    def __init__(self, engine: AsyncEngine, lanework: Lanework) -> None:
        self._engine = engine
        self._lanework = lanework
        self._is_postgres = engine.dialect.name == "postgresql"
        self._stopping = asyncio.Event()
        self._added = asyncio.Event()
        self._listening: asyncpg.Connection[Any] | None = None
        self._log = log.get("outbox")

    def stop(self) -> None:
        self._stopping.set()
        self._added.set()

    async def run(self) -> None:
        """Until `stop`."""
        self._log.info("outbox.started")
        pause, is_away = _PAUSE, False
        while not self._stopping.is_set():
            try:
                await self._listen()
                self._added.clear()
                while not self._stopping.is_set() and await self._move():
                    pass
            except (StoreError, HistoryUnavailable) as error:
                if not is_away:
                    self._log.warning("outbox.away", code=error.code, error=str(error))
                is_away, pause = True, min(_LONGEST, pause * 2)
                await self._wait(pause)
                continue
            if is_away:
                self._log.info("outbox.back")
            pause, is_away = _PAUSE, False
            await self._wait(_LISTEN if self._is_postgres else _LOOK)
        if self._listening is not None:
            await self._listening.close()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._added.wait(), seconds)

    async def _listen(self) -> None:
        """On a connection of its own; made anew once it is lost."""
        if not self._is_postgres or (self._listening is not None and not self._listening.is_closed()):
            return
        with translated():
            url = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            try:
                self._listening = await asyncpg.connect(url, timeout=5)
                await self._listening.add_listener(TABLE, lambda *_: self._added.set())
            except asyncpg.PostgresError as error:
                raise HistoryUnavailable(f"the database of the outbox refused: {error}"[:300]) from None

    async def _move(self) -> bool:
        """Whether there may be more."""
        with translated():
            async with self._engine.begin() as connection:
                due = select(rows).where(rows.c.try_at <= now_ms()).order_by(rows.c.number).limit(_PART)
                # others pass over the rows that this one has in hand
                found = (await connection.execute(due.with_for_update(skip_locked=True))).all()
                if found:
                    await self._move_rows(connection, found)
        return len(found) == _PART

    async def _move_rows(self, connection: AsyncConnection, found: Sequence[Any]) -> None:
        """Raises StoreError: then all stay."""
        read = [_request(row) for row in found]
        requests = [request for request in read if isinstance(request, JobRequest)]
        stored = iter(await self._lanework.submit_many(requests))
        moved: list[int] = []
        for row, request in zip(found, read, strict=True):
            result = request if isinstance(request, LaneworkError) else next(stored)
            if isinstance(result, StoreError):
                raise result
            if isinstance(result, LaneworkError):
                await self._refuse(connection, row, result)
            else:
                moved.append(row.number)
        if moved:
            await connection.execute(delete(rows).where(rows.c.number.in_(moved)))

    async def _refuse(self, connection: AsyncConnection, row: Any, error: LaneworkError) -> None:
        """It stays, and is tried again: its function may not have come up yet."""
        if not row.tries:
            self._log.warning("outbox.refused", row=row.id, code=error.code, error=str(error))
        wait = min(_LONGEST_REFUSED, 1000 << min(row.tries, 6))
        reason = clean(f"{error.code}: {error}"[:1000])
        changed = {"error": reason, "tries": row.tries + 1, "try_at": now_ms() + wait}
        await connection.execute(update(rows).where(rows.c.number == row.number).values(changed))


def _request(row: Any) -> JobRequest | LaneworkError:
    """The error of a row that is no request: the others are not to wait for it."""
    try:
        return _read(codec.unpack_any(row.request), row.id)
    except LaneworkError as error:
        return error
    except Exception as error:  # whatever another program wrote
        message = f"the row is no request of outbox.add: {error!r}"[:300]
        return JobInvalid(message, [{"field": "", "message": message}])


def _read(options: dict[str, Any], row_id: str) -> JobRequest:
    key = options.pop("key", None)
    follow_ups = [_read_follow_up(own) for own in options.pop("then", ())]
    return JobRequest(**options, then=follow_ups, key=f"outbox:{row_id}" if key is None else key)


def _read_follow_up(options: dict[str, Any]) -> JobRequest:
    return JobRequest(**{**options, "then": [_read_follow_up(own) for own in options.get("then", ())]})
