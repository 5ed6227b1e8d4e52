"""Jobs that are enqueued within a program's own database transaction."""

import asyncio
import random
import sqlite3
import subprocess
from contextlib import contextmanager

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from runtime import outbox
from runtime.client import Lanework
from runtime.errors import JobInvalid
from runtime.history.database import open_engine
from runtime.outbox.relay import Relay
from runtime.outbox.table import make_table
from runtime.settings import load
from runtime.store import embedded
from runtime.values import codec
from tests.servers import until


async def email(to: str, n: int = 0) -> str:
    return to


@pytest.fixture
def settings(settings):
    """The database is a program's own; there is no history."""
    return settings.model_copy(update={"history_url": SecretStr("")})


@pytest.fixture
async def database(history_url):
    """The URL of the program's own database, with an outbox."""
    engine = open_engine(history_url)
    await make_table(engine)
    await engine.dispose()
    return history_url


@pytest.fixture
def engine(database):
    made = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def dbapi(database):
    if database.startswith("sqlite"):
        return sqlite3.connect(database.removeprefix("sqlite:///"))
    return psycopg.connect(database)


@pytest.fixture
async def relay(client, database):
    own = open_engine(database)
    one = Relay(own, client)
    task = asyncio.create_task(one.run())
    yield one
    one.stop()
    await asyncio.wait_for(task, 20)
    await own.dispose()


async def until_jobs(client, count):
    async with asyncio.timeout(20):
        while len(jobs := (await client.page(limit=500)).jobs) < count:
            await asyncio.sleep(0.01)
    return jobs


async def rows_in(database):
    own = open_engine(database)
    async with own.connect() as connection:
        found = (await connection.execute(text("SELECT id, error FROM lanework_outbox"))).all()
    await own.dispose()
    return found


async def test_what_is_committed_becomes_a_job_and_what_is_rolled_back_none(
    client, worker, engine, database, relay
):
    async with worker(email=email):
        with engine.begin() as connection:
            outbox.add(connection, "email", {"to": "ann"}, priority="high", tags={"order": "o1"})
        with Session(engine) as session:
            outbox.add(session, "email", {"to": "bob"}, then=[])
            session.commit()
        with engine.connect() as connection:
            outbox.add(connection, "email", {"to": "nobody"})
            connection.rollback()
        plain = dbapi(database)
        outbox.add(plain, "email", {"to": "cy"})
        plain.commit()
        plain.close()
        jobs = await until_jobs(client, 3)

        assert sorted(job.payload["to"] for job in jobs) == ["ann", "bob", "cy"]
        (ann,) = [job for job in jobs if job.payload["to"] == "ann"]
        assert (ann.lane, ann.tags) == ("high", {"order": "o1"})
    async with asyncio.timeout(20):
        while await rows_in(database):
            await asyncio.sleep(0.01)


async def test_an_async_connection_too(client, worker, database, relay):
    own = create_async_engine(
        database.replace("sqlite://", "sqlite+aiosqlite://").replace("postgresql://", "postgresql+asyncpg://")
    )
    async with worker(email=email):
        async with own.begin() as connection:
            with pytest.raises(TypeError, match="run_sync"):
                outbox.add(connection, "email", {"to": "nobody"})
            await connection.run_sync(outbox.add, "email", {"to": "ann"})
        (job,) = await until_jobs(client, 1)
    await own.dispose()
    assert job.payload == {"to": "ann"}


async def test_what_is_refused_stays_with_its_reason_until_it_can_be_moved(
    client, worker, engine, database, relay, process
):
    with engine.begin() as connection:
        outbox.add(connection, "email", {"to": "ann"})
    async with asyncio.timeout(20):
        while not any(error for _, error in await rows_in(database)):
            await asyncio.sleep(0.01)
    listed = process("outbox", "ls", OUTBOX_URL=database)
    assert await asyncio.to_thread(listed.popen.wait, 30) == 0
    assert "function-unknown" in " ".join(listed.log.read_text().split())

    async with worker(email=email):
        (job,) = await until_jobs(client, 1)
    assert job.payload == {"to": "ann"}


async def test_a_row_that_is_no_request_keeps_no_other_waiting(client, worker, engine, database, relay, process):
    odd = [b"", b"\xc1", codec.pack([1]), codec.pack({"type": 7}), codec.pack({"type": "email", "a\0b": 1})]
    async with worker(email=email):
        with engine.begin() as connection:
            for n, request in enumerate(odd):
                row = {"id": f"odd-{n}", "request": request}
                connection.execute(
                    text("INSERT INTO lanework_outbox (id, request, made_at) VALUES (:id, :request, 0)"), row
                )
            outbox.add(connection, "email", {"to": "ann"})
        (job,) = await until_jobs(client, 1)
    listed = process("outbox", "ls", OUTBOX_URL=database)

    assert job.payload == {"to": "ann"}
    assert await asyncio.to_thread(listed.popen.wait, 30) == 0
    assert [id for id, error in await rows_in(database) if error] == [f"odd-{n}" for n in range(len(odd))]


async def test_a_generator_is_written_whole(client, worker, engine, database, relay):
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    async with worker(total=total):
        with engine.begin() as connection:
            outbox.add(connection, "total", {"numbers": (n for n in range(4))})
        (job,) = await until_jobs(client, 1)

    assert job.payload == {"numbers": [0, 1, 2, 3]}


def test_what_is_wrong_in_itself_is_refused_at_once(engine):
    with engine.begin() as connection:
        with pytest.raises(JobInvalid):
            outbox.add(connection, "email", {}, priority=True)
        with pytest.raises(ValueError, match="not a JSON number"):
            outbox.add(connection, "email", float("nan"))


@contextmanager
def killed_valkey(folder):
    """A server that is killed in the end, and goes on from its append-only file the next time."""
    server = subprocess.Popen(embedded.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: embedded.answers(folder), "the embedded server")
        yield f"unix://{embedded.socket_path(folder)}"
    finally:
        server.kill()
        server.wait()


async def test_rows_are_jobs_whatever_is_killed(tmp_path_factory, engine, database, process, folder):
    """As many rows as are committed, each once, while relays and Redis are killed at random."""
    data = tmp_path_factory.mktemp("killed")
    count, rounds = 3000, 8
    folder.write(email="async def handle(to: str, n: int) -> int:\n    return n\n")

    def write():
        for n in range(count):
            with engine.connect() as connection:
                outbox.add(connection, "email", {"to": "ann", "n": n})
                connection.commit() if n % 3 else connection.rollback()

    with killed_valkey(data) as url:
        env = {"OUTBOX_URL": database, "REDIS_URL": url, "PREFIX": "lw", "SHARDS": "1"}
        process("worker", "--functions-dir", str(folder.path), **env).await_said("worker.started")
        writing = asyncio.create_task(asyncio.to_thread(write))
        relays = [process("outbox", "run", **env) for _ in range(2)]
    for _ in range(rounds):
        with killed_valkey(data) as url:
            await asyncio.sleep(random.uniform(0.3, 1.0))
            victim = random.randrange(2)
            relays[victim].popen.kill()
            relays[victim].popen.wait()
            relays[victim] = process("outbox", "run", **env)
    await writing

    with killed_valkey(data) as url:
        async with Lanework(load({}, redis_url=url)) as client:
            async with asyncio.timeout(60):
                while await rows_in(database):
                    await asyncio.sleep(0.05)
            found, cursor = [], None
            while True:
                page = await client.page(limit=500, cursor=cursor)
                found += [job.payload["n"] for job in page.jobs]
                cursor = page.cursor
                if cursor is None:
                    break
        for one in relays:
            one.stop()

    assert sorted(found) == [n for n in range(count) if n % 3]
