"""What `lanework outbox` does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import uvloop
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import log
from runtime.cli import show
from runtime.cli.engine import with_engine
from runtime.client import Lanework
from runtime.history.database import translated
from runtime.outbox.relay import Relay
from runtime.outbox.table import make_table, rows
from runtime.settings import Settings
from runtime.values import codec
from runtime.values.clock import rfc3339

_SHOWN = 100
Answer = TypeVar("Answer")


def migrate(settings: Settings) -> int:
    """Raises SettingsInvalid, HistoryUnavailable."""
    asyncio.run(_with_engine(settings, make_table))
    show.note(f"the table {rows.name} is there")
    return show.DONE


def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT. Raises SettingsInvalid."""
    log.configure(settings)
    return uvloop.run(_with_engine(settings, lambda engine: _run(settings, engine)))


async def _run(settings: Settings, engine: AsyncEngine) -> int:
    lanework = Lanework(settings)
    relay = Relay(engine, lanework)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, relay.stop)
    try:
        await relay.run()
    finally:
        await lanework.close()
    log.get("outbox").info("outbox.left")
    return show.DONE


def ls(settings: Settings, *, as_json: bool) -> int:
    """Raises SettingsInvalid, HistoryUnavailable."""

    async def ask(engine: AsyncEngine) -> tuple[int, list[dict[str, Any]]]:
        with translated():
            async with engine.connect() as connection:
                count = await connection.scalar(select(func.count()).select_from(rows))
                found = (await connection.execute(select(rows).order_by(rows.c.number).limit(_SHOWN))).all()
        return count or 0, [_described(row) for row in found]

    count, shown = asyncio.run(_with_engine(settings, ask))
    if as_json:
        show.json({"waiting": count, "rows": shown})
        return show.DONE
    columns = ["id", "type", "made_at", "tries", "error"]
    table = [[str(row[column] or "") for column in columns] for row in shown]
    show.table([column.removesuffix("_at") for column in columns], table, "the outbox is empty")
    if count > len(shown):
        show.note(f"{count:,} rows in all")
    return show.DONE


def _described(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": _type(row.request),
        "made_at": rfc3339(row.made_at),
        "tries": row.tries,
        "error": row.error,
    }


def _type(request: bytes) -> str | None:
    """None for what another program wrote, and is no request."""
    try:
        return str(codec.unpack_any(request)["type"])
    except (ValueError, TypeError, KeyError):
        return None


async def _with_engine(settings: Settings, ask: Callable[[AsyncEngine], Awaitable[Answer]]) -> Answer:
    return await with_engine(settings.outbox_url, "LANEWORK_OUTBOX_URL", ask)
