"""What history costs a drain, and how fast it is written: to SQLite, and to a PostgreSQL where there is one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runtime.history.database import open_engine
from runtime.history.migrate import migrate
from tests.benchmarks.drain import JOBS, drained
from tests.benchmarks.machine import Server, lanework, server, until
from tests.servers import Postgres, postgres_binaries


def measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, url in _databases(Path(folder), stack):
            figures |= _with(name, url)
    return figures


def _with(name: str, url: str) -> dict[str, float]:
    asyncio.run(_make_tables(url))
    with server() as one:
        without, python, redis = drained(one)
    with server() as one, _archiving(one, url):
        begun = time.monotonic()
        beside = drained(one)[0]
        until(lambda: _is_written(one), "end of the writing")
        both = JOBS / (time.monotonic() - begun)
    with server() as one:
        with _archiving(one, url):
            pass
        waiting, waiting_python, waiting_redis = drained(one)
        waits, cpu = one.client.xlen("lw:{0}:archive"), one.cpu()
        with _archiving(one, url):
            until(lambda: one.client.xlen("lw:{0}:archive") < waits, "begin of the writing", pause=0.001)
            begun = time.monotonic()
            until(lambda: _is_written(one), "end of the writing")
            alone = JOBS / (time.monotonic() - begun)
        written = one.cpu() - cpu
    return {
        f"{name}: drain, all on these cores, with history / without": beside / without,
        f"{name}: µs of Redis a job without history": redis / without * 1e6,
        f"{name}: µs of Redis a job that waits for history": waiting_redis / waiting * 1e6,
        f"{name}: µs of Redis to write a job down": written / JOBS * 1e6,
        f"{name}: µs of worker a job without history": python / without * 1e6,
        f"{name}: µs of worker a job that waits for history": waiting_python / waiting * 1e6,
        f"{name}: drained and written, jobs/s": both,
        f"{name}: written, jobs/s": alone,
        f"{name}: written / drain without history": alone / without,
    }


@contextmanager
def _archiving(one: Server, url: str) -> Iterator[None]:
    with lanework(one, "history", "run", "--history-url", url):
        until(lambda: one.client.exists("lw:{0}:archiving"), "history")
        yield


def _is_written(one: Server) -> bool:
    return bool(one.client.xlen("lw:{0}:archive") == 0)


async def _make_tables(url: str) -> None:
    engine = open_engine(url)
    await migrate(engine)
    await engine.dispose()


def _databases(folder: Path, stack: ExitStack) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder}/history.db"
    if (binaries := postgres_binaries()) is not None:
        postgres = Postgres(binaries)
        postgres.start()
        stack.callback(postgres.remove)
        yield "PostgreSQL", f"{postgres.url}/postgres"
