"""The connection to the database of history."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from runtime.errors import HistoryRefused, HistoryUnavailable, SettingsInvalid

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_CONNECT_WITHIN, _ANSWER_WITHIN = 5, 30  # seconds
_BUSY_MS = 10_000  # that SQLite waits for another's write


def open_engine(url: str) -> AsyncEngine:
    """`url`: sqlite:///path or postgresql://user@host/name. Raises SettingsInvalid."""
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.get_backend_name()]
    except (KeyError, SQLAlchemyError, ValueError):
        raise SettingsInvalid(
            "a database is named by sqlite:///path/to/file or postgresql://user@host/database"
        ) from None
    parsed = parsed.set(drivername=driver)
    if driver == "sqlite+aiosqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsInvalid("SQLite needs a file: sqlite:///path/to/file")
        file = Path(parsed.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # payloads are not for everybody on this machine
        engine = create_async_engine(parsed)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        return engine
    options = dict(parsed.query)
    connect: dict[str, Any] = {"timeout": _CONNECT_WITHIN, "command_timeout": _ANSWER_WITHIN}
    if (mode := options.pop("sslmode", None)) is not None:  # as libpq names it
        connect["ssl"] = mode
    if options:
        raise SettingsInvalid(f"{', '.join(options)}: of a database's options, only sslmode is understood")
    return create_async_engine(parsed.set(query={}), pool_pre_ping=True, connect_args=connect)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of SQLAlchemy and the drivers into HistoryUnavailable, without what a statement carried."""
    try:
        yield
    except DBAPIError as error:
        kind = HistoryRefused if _is_of_a_row(error) else HistoryUnavailable
        raise kind(f"the database of history refused: {_brief(error.orig)}") from None
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise HistoryUnavailable(f"the database of history does not answer: {_brief(error)}") from None


def _is_of_a_row(error: DBAPIError) -> bool:
    """Whether a row is refused (a value, a constraint, a trigger), and not everything."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return isinstance(error, (IntegrityError, DataError)) or state[:2] in ("22", "23", "P0")


def _brief(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """Readers and the writer do not wait for each other; what is committed outlives a power cut."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
