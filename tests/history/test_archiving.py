"""What has settled comes into history, and is answered from there once Redis has forgotten it."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text

from runtime import Context, Permanent, Retry, function
from runtime.errors import HistoryOutdated, JobNotFound
from runtime.history.database import open_engine
from runtime.history.migrate import check, migrate
from runtime.history.queries import Queries
from runtime.history.tables import attempts, jobs
from runtime.history.writer import Writer
from tests.conftest import record_key, serving


async def add(a: int, b: int = 0) -> int:
    return a + b


async def echo(payload: Any) -> Any:
    return payload


async def bad(ctx: Context, why: str):
    ctx.progress(0.5, note="half")
    raise Permanent(why)


@function(retry=Retry(max_attempts=3, base=0.01, cap=0.01))
async def second_time(ctx: Context):
    if ctx.job.attempt == 1:
        raise RuntimeError("not yet")
    return "now"


async def forget(redis, settings, *ids):
    """As Redis does when a record's time is over."""
    await redis.delete(*(record_key(settings, job_id) for job_id in ids))


async def test_a_job_that_redis_has_forgotten_is_shown_as_it_was(archiving, client, worker, redis, settings):
    async with archiving(), worker(add=add, echo=echo, bad=bad, second_time=second_time):
        enqueued = [
            await client.enqueue("add", {"a": 1}, tags={"order": "o1"}, then=[]),
            await client.enqueue("echo", {"text": "a\0b", "deep": {"big": 2**63, "list": [1, None, 2.5]}}),
            await client.enqueue("bad", {"why": "no\0 such house"}),
            await client.enqueue("second_time"),
        ]
        waiting = await client.enqueue("add", {"a": 1}, delay="1h")
        await client.cancel(waiting.id)
        shown = [await client.wait(job, 15) for job in [*enqueued, waiting]]
    await forget(redis, settings, *(job.id for job in shown))

    found = [await client.get(job.id) for job in shown]

    assert found == [replace(job, archived=True) for job in shown]
    assert [job.status for job in found] == ["completed", "completed", "failed", "completed", "cancelled"]
    assert [len(job.attempts) for job in found] == [1, 1, 1, 2, 0]


async def test_over_http_it_is_marked(archiving, client, worker, redis, settings):
    async with archiving(), worker(add=add):
        job = await client.wait(await client.enqueue("add", {"a": 1}), 15)
        async with serving(settings) as http:
            live = (await http.get(f"/jobs/{job.id}")).json()
            await archived(client, job)
            await forget(redis, settings, job.id)
            found = await http.get(f"/jobs/{job.id}", params={"wait": 5})
            result = await http.get(f"/jobs/{job.id}/result")

    assert live["archived"] is False
    assert found.json() == {**live, "archived": True}
    assert result.json() == 1


async def archived(client, job):
    """Until history has it."""
    while True:
        try:
            return await client._history.get(job.id)
        except JobNotFound:
            pass


async def test_what_nobody_enqueued_is_not_found(archiving, client):
    async with archiving():
        with pytest.raises(JobNotFound):
            await client.get("019aa0b6-0000-7000-8000-000000000000")
        with pytest.raises(JobNotFound):
            await client.get("no id")


async def test_a_replayed_job_is_there_once_as_it_ended_last(archiving, client, worker, redis, settings, engine):
    fails = True

    async def moody():
        if fails:
            raise Permanent("not today")
        return "today"

    async with archiving(), worker(moody=moody):
        job = await client.wait(await client.enqueue("moody"), 15)
        fails = False
        assert await client.replay("moody", lambda failed: failed.id == job.id) == 1
        last = await client.wait(job.id, 15)
    await forget(redis, settings, job.id)

    assert last.status == "completed"
    assert await client.get(job.id) == replace(last, archived=True)
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(jobs)) == 1
        assert await connection.scalar(select(func.count()).select_from(attempts)) == 2


async def test_an_older_end_that_comes_late_changes_nothing(client, worker, engine):
    async with worker(second_time=second_time):
        job = await client.wait(await client.enqueue("second_time"), 15)
    older = replace(job, status="failed", attempt=1, attempts=job.attempts[:1])
    writer = Writer(engine)

    await writer.write([job])
    await writer.write([older, older])

    assert (await Queries(engine).get(job.id)).status == "completed"


async def test_a_record_waits_for_history_and_then_goes_when_its_function_said(
    archiving, client, worker, redis, settings
):
    @function(keep=60)
    async def brief():
        return 1

    async with worker(brief=brief, add=add):
        async with archiving(wait=7200):
            pass
        job = await client.wait(await client.enqueue("brief"), 15)
        other = await client.wait(await client.enqueue("add", {"a": 1}), 15)
        waits = await redis.ttl(record_key(settings, job.id))
        async with archiving(wait=7200):
            pass

    assert 7100 < waits <= 7200
    assert 0 < await redis.ttl(record_key(settings, job.id)) <= 60
    assert await redis.ttl(record_key(settings, other.id)) > 7200


async def test_where_there_is_no_history_nothing_waits_for_it(client, worker, redis, settings):
    async with worker(add=add):
        await client.wait(await client.enqueue("add", {"a": 1}), 15)

    assert [key async for key in redis.scan_iter(f"{settings.prefix}:*archiv*")] == []


async def test_secrets_do_not_reach_the_database(archiving, client, worker, redis, settings, engine):
    async def login(user: str, password: SecretStr) -> str:
        return user

    async with archiving(), worker(login=login):
        job = await client.wait(await client.enqueue("login", {"user": "ann", "password": "hunter22"}), 15)
    await forget(redis, settings, job.id)

    assert (await client.get(job.id)).payload == {"user": "ann", "password": "***"}
    async with engine.connect() as connection:
        (row,) = (await connection.execute(select(jobs))).all()
    assert b"hunter22" not in row.job
    assert "hunter22" not in str(row.fields)


async def test_a_row_that_the_database_refuses_does_not_stop_the_others(
    archiving, client, worker, redis, settings, engine
):
    await refuse_function(engine, "bad")

    async with archiving(), worker(add=add, bad=bad):
        refused = await client.wait(await client.enqueue("bad", {"why": "x"}), 15)
        job = await client.wait(await client.enqueue("add", {"a": 1}), 15)
    await forget(redis, settings, job.id, refused.id)

    assert (await client.get(job.id)).result == 1
    with pytest.raises(JobNotFound):
        await client.get(refused.id)


async def refuse_function(engine, name):
    """A rule that somebody made in the database."""
    async with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            await connection.execute(
                text(
                    f"CREATE TRIGGER t BEFORE INSERT ON jobs WHEN new.type = '{name}' "
                    "BEGIN SELECT RAISE(ABORT, 'not here'); END"
                )
            )
        else:
            await connection.execute(text(f"ALTER TABLE jobs ADD CHECK (type <> '{name}')"))


async def test_tables_that_are_not_there_or_of_another_version_are_told(history_url):
    engine = open_engine(history_url)
    with pytest.raises(HistoryOutdated, match="lanework history migrate"):
        await check(engine)

    assert (await migrate(engine))[0] is None
    assert len(set(await migrate(engine))) == 1
    await check(engine)

    async with engine.begin() as connection:
        await connection.execute(text("UPDATE lanework_version SET version_num = '9999'"))
    with pytest.raises(HistoryOutdated, match="a later Lanework"):
        await check(engine)
    await engine.dispose()
