"""How long history keeps jobs; exporting them, and erasing them on request."""

import asyncio
import gzip
import json
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from runtime import settings as settings_module
from runtime.errors import JobNotFound, SettingsInvalid
from runtime.history.archiver import Archiver
from runtime.history.tables import attempts, jobs
from runtime.history.writer import Writer
from runtime.store.keys import Keys
from runtime.values.clock import now_ms
from tests.conftest import record_key
from tests.history.test_figures import job

DAY = 86_400
DAY_MS = DAY * 1000


async def note(user: str = "") -> str:
    return user


@pytest.fixture
def lanework(process, history_url):
    """Runs `lanework history …` to its end; returns its exit code, and what it printed."""

    async def run(*arguments):
        one = process("history", *arguments, HISTORY_URL=history_url)
        code = await asyncio.to_thread(one.popen.wait, 30)
        return code, one.log.read_text()

    return run


async def ids_in(engine):
    async with engine.connect() as connection:
        return set((await connection.scalars(select(jobs.c.id))).all())


async def test_what_is_old_is_deleted_by_the_archiver(engine, store):
    now = now_ms()
    kept = [job("a", now - 5 * DAY_MS), job("brief", now - DAY_MS // 2)]
    old = [
        job("a", now - 11 * DAY_MS),
        job("brief", now - 2 * DAY_MS),
        *(job("b", now - 20 * DAY_MS) for _ in range(2500)),
    ]
    await Writer(engine).write([*kept, *old])

    archiver = Archiver(store.archive, Writer(engine), 3600, {"*": 10 * DAY, "brief": DAY})
    task = asyncio.create_task(archiver.run())
    async with asyncio.timeout(20):
        while await ids_in(engine) != {one.id for one in kept}:
            await asyncio.sleep(0.01)
    archiver.stop()
    await task

    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(attempts)) == 2


def test_ages_are_written_by_function():
    kept = settings_module.load({}, history_keep="30d,webhook=7d,email=1w").history_keep

    assert kept == {"*": 30 * DAY, "webhook": 7 * DAY, "email": 7 * DAY}
    assert settings_module.load({}).history_keep == {"*": 90 * DAY}
    for wrong in ("1d,2d", "webhook=", "1s", "x=y"):
        with pytest.raises(SettingsInvalid):
            settings_module.load({}, history_keep=wrong)


async def test_export_writes_a_line_a_job(engine, lanework, tmp_path):
    made = [job("a", now_ms() + n) for n in range(700)]
    await Writer(engine).write([*made, job("b", now_ms())])

    code, _ = await lanework("export", "--type", "a", "-o", str(tmp_path / "a.ndjson.gz"))
    _, printed = await lanework("export", "--type", "b")
    wrong, told = await lanework("export", "--after", "yesterday")
    nowhere, why = await lanework("export", "-o", str(tmp_path / "none" / "a.ndjson"))

    with gzip.open(tmp_path / "a.ndjson.gz") as file:
        lines = [json.loads(line) for line in file]
    assert code == 0
    assert {line["id"]: line["status"] for line in lines} == dict.fromkeys([one.id for one in made], "completed")
    assert lines[0] == replace(max(made, key=lambda one: (one.created_at, one.id)), archived=True).to_json()
    assert json.loads(printed.splitlines()[0])["type"] == "b"
    assert (wrong, "--after" in told) == (2, True)
    assert (nowhere, "No such file" in why) == (2, True)


async def test_how_far_it_is_behind(lanework, store, redis, settings):
    assert await lanework("status") == (1, "there is no history; `lanework history run` starts one\n")

    await store.archive.start(3600)
    assert await lanework("status") == (0, "0 s behind; 0 entries wait\n")

    await redis.xadd(Keys(settings.prefix).archive(0), {"jobs": b"\x90"}, id=f"{now_ms() - 300_000}-1")
    code, printed = await lanework("status", "--json")
    assert (code, json.loads(printed)["entries"]) == (1, 1)

    assert (await lanework("off"))[0] == 0
    assert [key async for key in redis.scan_iter(f"{settings.prefix}:*archiv*")] == []


async def test_what_is_forgotten_is_in_neither_place(archiving, client, worker, redis, settings, lanework):
    async with archiving(), worker(note=note):
        ann, bob, other = [
            await client.wait(await client.enqueue("note", {"user": user}, tags={"user": user}), 15)
            for user in ("ann", "bob", "ann")
        ]
        waiting = await client.enqueue("note", {"user": "ann"}, delay="1h")

    assert (await lanework("forget", "--payload", "user=ann", "--dry-run"))[1].startswith("2 jobs would be erased")
    code, printed = await lanework("forget", "--payload", "user=ann")
    refused = await lanework("forget", waiting.id)
    by_id = await lanework("forget", bob.id)

    assert (code, "2 jobs are erased" in printed) == (0, True)
    assert (refused[0], waiting.id in refused[1]) == (3, True)
    assert by_id[0] == 0
    for gone in (ann, bob, other):
        with pytest.raises(JobNotFound):
            await client.get(gone.id)
        assert not await redis.exists(record_key(settings, gone.id))
    assert (await client.page(tag="user:ann")).jobs == []
    assert (await client.get(waiting.id)).status == "scheduled"
    assert (await lanework("forget"))[0] == 2
    assert (await lanework("forget", "x"))[0] == 2
