"""What `lanework history` does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import log
from runtime.cli import show
from runtime.errors import SettingsInvalid
from runtime.history import migrate as migrations
from runtime.history.archiver import Archiver
from runtime.history.database import open_engine, translated
from runtime.history.writer import Writer
from runtime.settings import Settings
from runtime.store.store import Store

_NICE = 10  # running jobs matters more than archiving them
Answer = TypeVar("Answer")


def migrate(settings: Settings) -> int:
    """Raises SettingsInvalid, HistoryUnavailable."""
    before, now = asyncio.run(_with_engine(settings, migrations.migrate))
    show.note(f"the history is at version {now}" + ("" if before == now else f" (it was at {before or 'none'})"))
    return show.DONE


async def make_tables(settings: Settings) -> None:
    """As `migrate`, in silence."""
    await _with_engine(settings, migrations.migrate)


def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT. Raises SettingsInvalid, StoreError, and HistoryUnavailable where the tables are not
    this version's."""
    log.configure(settings)
    return uvloop.run(_with_engine(settings, lambda engine: _run(settings, engine)))


async def _run(settings: Settings, engine: AsyncEngine) -> int:
    os.nice(_NICE)
    await migrations.check(engine)
    store = Store(settings)
    archiver = Archiver(store.archive, Writer(engine), settings.history_wait)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, archiver.stop)
    try:
        await archiver.run()
    finally:
        await store.close()
    log.get("history").info("history.left")
    return show.DONE


async def _with_engine(settings: Settings, ask: Callable[[AsyncEngine], Awaitable[Answer]]) -> Answer:
    url = settings.history_url.get_secret_value()
    if not url:
        raise SettingsInvalid(
            "no history is set: LANEWORK_HISTORY_URL is sqlite:///path or postgresql://user@host/name"
        )
    engine = open_engine(url)
    try:
        with translated():
            return await ask(engine)
    finally:
        await engine.dispose()
