"""Jobs that wait for their time."""

import asyncio
from datetime import UTC, datetime
from statistics import median

import pytest

from runtime.errors import JobInvalid, StatusConflict
from runtime.values.clock import now_ms
from tests.conftest import deploy

WAIT = 15


async def f() -> int:
    return now_ms()


async def test_a_delayed_job_starts_within_50_ms_of_its_time_on_an_idle_system(client, worker):
    async with worker(f=f):
        job = await client.enqueue("f", delay=0.4)
        later = [await client.enqueue("f", run_at=now_ms() + 600 + 200 * n) for n in range(4)]
        done = [await client.wait(one.id, WAIT) for one in (job, *later)]

    assert (job.status, done[0].status) == ("scheduled", "completed")
    assert job.run_at - job.created_at == 400
    late = [after.started_at - before.run_at for before, after in zip((job, *later), done, strict=True)]
    assert min(late) >= 0
    assert median(late) < 50


async def test_a_time_that_has_passed_means_now(client):
    await deploy(client, f=f)

    assert (await client.enqueue("f", run_at="2001-01-01T00:00:00Z")).status == "pending"
    assert (await client.enqueue("f", delay=0)).status == "pending"


@pytest.mark.parametrize(
    "run_at", [1_900_000_000_000, "2030-03-17T17:46:40Z", datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)]
)
async def test_a_time_is_unix_ms_or_rfc_3339(client, run_at):
    await deploy(client, f=f)

    assert (await client.enqueue("f", run_at=run_at)).run_at == 1_900_000_000_000


@pytest.mark.parametrize(
    "asked",
    [
        {"run_at": "tomorrow"},
        {"run_at": "2030-01-01T00:00:00"},
        {"run_at": -1},
        {"delay": "soon"},
        {"delay": -1},
        {"delay": 1, "run_at": 1_900_000_000_000},
        {"ttl": "x"},
        {"backoff": "x"},
        {"unique": ""},
    ],
)
async def test_a_wrong_time_is_refused_by_field(client, asked):
    await deploy(client, f=f)

    with pytest.raises(JobInvalid) as refused:
        await client.enqueue("f", **asked)

    assert refused.value.errors[0]["field"].removeprefix("/") in asked


async def test_scheduled_jobs_are_listed_the_soonest_first(client):
    await deploy(client, f=f, g=f)
    ids = [(await client.enqueue("f", delay=100 - n)).id for n in range(5)]
    other = await client.enqueue("g", delay=1000)
    await client.enqueue("f")

    first = await client.page(limit=3, status="scheduled")
    rest = await client.page(limit=3, status="scheduled", cursor=first.cursor)

    assert [job.id for job in (*first.jobs, *rest.jobs)] == [*ids[::-1], other.id]
    assert [job.id for job in (await client.page(status="scheduled", type="g")).jobs] == [other.id]


async def test_a_scheduled_job_can_be_run_now_moved_and_cancelled(client, worker):
    async with worker(f=f):
        now, moved, cancelled = [await client.enqueue("f", delay="1h") for _ in range(3)]
        await client.move(now.id)
        assert (await client.move(moved.id, delay="2h")).run_at > moved.run_at
        await client.move(moved.id, delay=0.05)
        await client.cancel(cancelled.id)
        done = [await client.wait(job.id, WAIT) for job in (now, moved, cancelled)]

    assert [job.status for job in done] == ["completed", "completed", "cancelled"]
    with pytest.raises(StatusConflict):
        await client.move(now.id)


async def test_scheduled_jobs_of_a_busy_system_start_too(client, worker, settings):
    busy, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        busy.set()
        await let_go.wait()

    async with worker(settings.model_copy(update={"concurrency": 2}), f=f, hold=hold):
        await client.enqueue("hold")
        await busy.wait()
        ids = [(await client.enqueue("f", delay=0.05)).id for _ in range(20)]
        assert {(await client.wait(job_id, WAIT)).status for job_id in ids} == {"completed"}
        let_go.set()
