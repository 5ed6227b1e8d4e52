"""History's tests run on both databases: SQLite, and a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from runtime.history.archiver import Archiver
from runtime.history.database import open_engine
from runtime.history.migrate import migrate
from runtime.history.writer import Writer
from runtime.settings import Settings
from runtime.store.store import Store
from tests.servers import DEADLINE, Postgres, missing, postgres_binaries


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = postgres_binaries()
    if binaries is None:
        missing("a PostgreSQL (Debian: apt install postgresql)")
    assert binaries is not None
    server = Postgres(binaries)
    server.start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
async def history_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/history.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(6)}"
    admin = create_async_engine(
        f"{server.url}/postgres".replace("://", "+asyncpg://"), isolation_level="AUTOCOMMIT"
    )
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server.url}/{name}"
    async with admin.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.dispose()


@pytest.fixture
async def engine(history_url: str) -> AsyncIterator[AsyncEngine]:
    """The database with its tables."""
    opened = open_engine(history_url)
    await migrate(opened)
    yield opened
    await opened.dispose()


@pytest.fixture
def settings(settings: Settings, history_url: str) -> Settings:
    return settings.model_copy(update={"history_url": SecretStr(history_url)})


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = Store(settings)
    yield opened
    await opened.close()


@pytest.fixture
def archiving(engine: AsyncEngine, store: Store, settings: Settings):
    """`async with archiving():` writes history in this process until the block ends, and all that has settled."""

    @asynccontextmanager
    async def start(wait: float = settings.history_wait) -> AsyncIterator[Archiver]:
        archiver = Archiver(store.archive, Writer(engine), wait)
        task = asyncio.create_task(archiver.run())
        try:
            await until_archiving(store)
            yield archiver
            await until_archived(store)
        finally:
            archiver.stop()
            await asyncio.wait_for(task, DEADLINE)

    return start


async def until_archiving(store: Store) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await store.archive.is_on():
            await asyncio.sleep(0)


async def until_archived(store: Store) -> None:
    async with asyncio.timeout(DEADLINE):
        while (lag := await store.archive.lag()) is not None and lag.entries:
            await asyncio.sleep(0.01)
