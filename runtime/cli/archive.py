"""What `lanework history` does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import uvloop
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime import log
from runtime.cli import show
from runtime.cli.engine import with_engine
from runtime.history import migrate as migrations
from runtime.history.archiver import Archiver
from runtime.history.erasure import erase, find
from runtime.history.export import export as write_lines
from runtime.history.search import Search
from runtime.history.writer import Writer
from runtime.settings import Settings
from runtime.store.archive import Lag
from runtime.store.store import Store

_FAR_BEHIND = 60.0  # seconds
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


def run(settings: Settings, *, migrate: bool) -> int:
    """Until SIGTERM or SIGINT. Raises SettingsInvalid, StoreError, and HistoryUnavailable where the tables are not
    this version's."""
    log.configure(settings)
    return uvloop.run(_with_engine(settings, lambda engine: _run(settings, engine, migrate)))


async def _run(settings: Settings, engine: AsyncEngine, migrate: bool) -> int:
    os.nice(_NICE)
    if migrate:
        await migrations.migrate(engine)
    await migrations.check(engine)
    store = Store(settings)
    archiver = Archiver(store.archive, Writer(engine), settings.history_wait, settings.history_keep)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, archiver.stop)
    try:
        await archiver.run()
    finally:
        await store.close()
    log.get("history").info("history.left")
    return show.DONE


def status(settings: Settings, *, as_json: bool) -> int:
    """Raises StoreError."""

    async def ask() -> Lag | None:
        store = Store(settings)
        try:
            return await store.archive.lag()
        finally:
            await store.close()

    lag = asyncio.run(ask())
    if as_json:
        show.json({"history": lag is not None} | (lag._asdict() if lag else {}))
    elif lag is None:
        show.note("there is no history; `lanework history run` starts one")
    else:
        show.note(f"{lag.seconds:.0f} s behind; {lag.entries:,} entries wait")
    return show.DONE if lag is not None and lag.seconds < _FAR_BEHIND else show.FAILED


def off(settings: Settings) -> int:
    """Raises StoreError."""

    async def work() -> None:
        store = Store(settings)
        try:
            await store.archive.stop()
        finally:
            await store.close()

    asyncio.run(work())
    show.note("settled jobs wait for history no longer; `lanework history run` begins again")
    return show.DONE


def export(settings: Settings, search: Search, to: Path | None) -> int:
    """Raises SettingsInvalid, HistoryUnavailable."""

    async def write(engine: AsyncEngine) -> int:
        await migrations.check(engine)
        with Console(stderr=True).status("…") as status:  # on a terminal alone
            return await write_lines(engine, search, to, lambda count: status.update(f"{count:,} jobs"))

    try:
        count = asyncio.run(_with_engine(settings, write))
    except OSError as error:
        show.error("usage", f"{to or 'standard output'}: {error.strerror}")
        return show.USAGE
    show.note(f"{count:,} jobs" + (f" in {to}" if to else ""))
    return show.DONE


def forget(settings: Settings, job_ids: Sequence[str], search: Search | None, *, dry_run: bool) -> int:
    """Raises SettingsInvalid, StoreError, HistoryUnavailable."""

    async def work(engine: AsyncEngine) -> int:
        await migrations.check(engine)
        store = Store(settings)
        try:
            found = [*job_ids, *(await find(store, engine, search) if search else ())]
            if dry_run:
                show.note(f"{len(found):,} jobs would be erased")
                return show.DONE
            erased, alive = await erase(store, engine, found)
        finally:
            await store.close()
        show.note(f"{erased:,} jobs are erased")
        if alive:
            show.error(
                "status-conflict", f"not settled, and so not erased: {', '.join(alive[:10])}; cancel them first"
            )
        return show.REFUSED if alive or not erased else show.DONE

    return asyncio.run(_with_engine(settings, work))


async def _with_engine(settings: Settings, ask: Callable[[AsyncEngine], Awaitable[Answer]]) -> Answer:
    return await with_engine(settings.history_url, "LANEWORK_HISTORY_URL", ask)
