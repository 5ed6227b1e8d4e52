"""Brings a database's tables to this version's, by Alembic."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import HistoryOutdated
from runtime.history.database import translated

_LOCK = 0x6C616E65  # of PostgreSQL, so that two that start at once do not both migrate
_VERSIONS = "lanework_version"


async def migrate(engine: AsyncEngine) -> tuple[str | None, str]:
    """Returns the version that was there, if any, and the one that is there now. Raises HistoryUnavailable."""
    with translated():
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade)


async def check(engine: AsyncEngine) -> None:
    """Raises HistoryOutdated where the tables are not this version's, and HistoryUnavailable."""
    with translated():
        async with engine.connect() as connection:
            found = await connection.run_sync(_version)
    newest = _newest()
    if found == newest:
        return
    if found is None:
        raise HistoryOutdated("the history has no tables yet: run `lanework history migrate`")
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise HistoryOutdated(
            f"the history has version {found}, this program {newest}: run `lanework history migrate`"
        )
    raise HistoryOutdated(f"the history has version {found}, of a later Lanework; this one knows {newest}")


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    before = _version(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before, _newest()


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": _VERSIONS}).get_current_revision()


def _newest() -> str:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("runtime.history") / "migrations"))
    return config
