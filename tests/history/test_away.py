"""The database is away, or its disk is full: what settles waits in Redis, visibly, and comes into history then."""

import asyncio
import os
import subprocess
import time
from contextlib import contextmanager

import pytest
import structlog
from pydantic import SecretStr

from runtime.errors import HistoryUnavailable
from runtime.history.archiver import Archiver
from runtime.history.database import open_engine
from runtime.history.migrate import migrate
from runtime.history.writer import Writer
from runtime.store.keys import Keys
from tests.conftest import deploy, record_key, serving
from tests.history.conftest import until_archived, until_archiving
from tests.servers import Postgres, free_port, missing, postgres_binaries


async def note(text: str = "") -> str:
    return text


@pytest.fixture
def history_url(request):
    """None: each test here has a database of its own."""
    return ""


async def archive_while(store, engine, settings, trouble):
    """Runs an archiver, and `trouble` beside it; returns once all is archived."""
    archiver = Archiver(store.archive, Writer(engine), settings.history_wait)
    task = asyncio.create_task(archiver.run())
    await until_archiving(store)
    try:
        await trouble()
        await until_archived(store)
    finally:
        archiver.stop()
        await asyncio.wait_for(task, 20)


async def until_away(logs):
    async with asyncio.timeout(20):
        while "history.away" not in [line["event"] for line in logs]:
            await asyncio.sleep(0.01)


async def run_jobs(client, payloads):
    ids = await client.enqueue_many("note", payloads)
    for job_id in ids:
        await client.wait(job_id, 20)
    return ids


async def test_a_database_that_is_away_is_waited_for(client, worker, store, settings, redis):
    binaries = postgres_binaries()
    if binaries is None:
        missing("a PostgreSQL (Debian: apt install postgresql)")
    server = Postgres(binaries)
    server.start()
    engine = open_engine(f"{server.url}/postgres")
    await migrate(engine)
    ids, lags = [], []

    async def trouble():
        ids.extend(await run_jobs(client, [{"text": "before"}]))
        await asyncio.to_thread(server.stop)
        ids.extend(await run_jobs(client, [{"text": "meanwhile"}] * 50))
        async with serving(settings) as http:
            lags.append((await client.history_lag()).entries)
            lags.append((await http.get("/metrics")).text)
        await until_away(logs)
        await asyncio.to_thread(server.start)

    with structlog.testing.capture_logs() as logs:
        async with worker(note=note):
            await archive_while(store, engine, settings, trouble)
    await redis.delete(*(record_key(settings, job_id) for job_id in ids))
    with_history = settings.model_copy(update={"history_url": SecretStr(f"{server.url}/postgres")})
    async with type(client)(with_history) as reader:
        found = [await reader.get(job_id) for job_id in ids]
    await engine.dispose()
    server.remove()

    assert [job.payload["text"] for job in found] == ["before", *["meanwhile"] * 50]
    assert lags[0] > 0
    assert "lanework_history_waiting_entries" in lags[1]
    assert "lanework_history_lag_seconds" in lags[1]


async def test_lists_show_what_redis_has_while_the_database_is_away(client, settings, worker, redis):
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    async with worker(note=note):
        forgotten, kept = await run_jobs(client, [{"text": "a"}, {"text": "b"}])
    await redis.delete(record_key(settings, forgotten))

    async with type(client)(settings.model_copy(update={"history_url": SecretStr(url)})) as reader:
        page = await reader.page()
        with pytest.raises(HistoryUnavailable):
            await reader.page(cursor=page.cursor)
        with pytest.raises(HistoryUnavailable):
            await reader.get(forgotten)

    assert ([job.id for job in page.jobs], page.partial) == ([kept], True)


@contextmanager
def small_disk(folder):
    """A disk of half a MiB that is there at `folder`."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if os.geteuid() != 0 or done.returncode != 0:
        missing("the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_on_a_full_disk_nothing_is_lost(client, worker, store, settings, redis, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        engine = open_engine(f"sqlite:///{disk}/history.db")
        await migrate(engine)
        ids = []

        async def trouble():
            ids.extend(await run_jobs(client, [{"text": "x" * 10_000}] * 100))
            await until_away(logs)
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)

        with structlog.testing.capture_logs() as logs:
            async with worker(note=note):
                await archive_while(store, engine, settings, trouble)
        await engine.dispose()
        with_history = settings.model_copy(update={"history_url": SecretStr(f"sqlite:///{disk}/history.db")})
        await redis.delete(*(record_key(settings, job_id) for job_id in ids))
        async with type(client)(with_history) as reader:
            assert [len((await reader.get(job_id)).payload["text"]) for job_id in ids] == [10_000] * 100


async def test_ready_warns_of_a_history_that_is_far_behind(client, store, settings, redis):
    await deploy(client, note=note)
    await store.archive.start(3600)
    five_minutes_ago = int((time.time() - 300) * 1000)
    await redis.xadd(Keys(settings.prefix).archive(0), {"jobs": b"\x90"}, id=f"{five_minutes_ago}-1")

    async with serving(settings) as http:
        reply = await http.get("/readyz")

    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
    assert reply.json()["warnings"][0].startswith("history is 30")
