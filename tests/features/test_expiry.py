"""Jobs that are only good for a time, and records that are kept for a time."""

import asyncio

from runtime import function
from runtime.errors import JobNotFound
from runtime.values.clock import now_ms
from tests.conftest import deploy, looking, record_key

WAIT = 15


async def f() -> int:
    return 1


async def test_a_job_that_has_not_started_in_time_fails_as_expired_and_never_runs(client, worker):
    ran = []

    async def g() -> None:
        ran.append(1)

    async with worker(g=g):
        await client.pause()
        job = await client.enqueue("g", ttl=0.2)
        done = await client.wait(job.id, WAIT)
        await client.resume()
        await client.wait((await client.enqueue("g")).id, WAIT)

    assert (done.status, done.error["type"], done.attempts) == ("failed", "Expired", [])
    assert job.start_before - job.created_at == 200
    assert ran == [1]


async def test_a_job_taken_after_its_time_does_not_run(client, worker):
    await deploy(client, g=f)
    job = await client.enqueue("g", start_before=now_ms() - 1)

    async with worker(g=f):
        done = await client.wait(job.id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "Expired")
    assert sum(d.waiting + d.running for d in await client.depths()) == 0


async def test_a_job_that_started_in_time_may_take_longer(client, worker):
    @function(ttl="300ms", retry=2)
    async def g(tries: list) -> str:
        await asyncio.sleep(0.5)
        return "late, but begun in time"

    async with worker(g=g):
        done = await client.wait((await client.enqueue("g", {"tries": []})).id, WAIT)

    assert done.status == "completed"


async def test_the_time_of_a_scheduled_job_counts_from_when_it_may_start(client, worker):
    async with worker(f=f):
        job = await client.enqueue("f", delay=0.4, ttl=0.3)
        done = await client.wait(job.id, WAIT)

    assert job.start_before == job.run_at + 300
    assert done.status == "completed"


async def test_an_expired_job_that_runs_again_by_hand_has_no_time_limit(client, worker):
    async with worker(f=f):
        job = await client.enqueue("f", start_before=1)
        assert (await client.wait(job.id, WAIT)).status == "failed"
        await client.retry(job.id)
        assert (await client.wait(job.id, WAIT)).status == "completed"


async def test_a_function_may_keep_its_jobs_for_longer_or_shorter(client, worker, settings):
    @function(keep="7d")
    async def long() -> None: ...

    @function(keep="2s")
    async def short() -> None: ...

    async with worker(long=long, short=short), looking(settings) as redis:
        left = []
        for name in ("long", "short"):
            job = await client.enqueue(name)
            await client.wait(job.id, WAIT)
            left.append(await redis.pttl(record_key(settings, job.id)))

    assert 6.9 * 86_400_000 < left[0] <= 7 * 86_400_000
    assert 0 < left[1] <= 2000


async def test_a_job_that_is_cancelled_before_it_ran_is_kept_as_its_function_says(client, settings):
    @function(keep="2s")
    async def short() -> None: ...

    await deploy(client, short=short)
    job = await client.enqueue("short")

    await client.cancel(job.id)

    async with looking(settings) as redis:
        assert 0 < await redis.pttl(record_key(settings, job.id)) <= 2000


async def test_a_job_that_is_not_kept_is_seen_by_those_who_wait_and_gone_soon(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(keep=0)
    async def g() -> int:
        started.set()
        await let_go.wait()
        return 1

    async with worker(g=g):
        job = await client.enqueue("g")
        waiting = asyncio.create_task(client.wait(job.id, WAIT))
        await asyncio.wait_for(started.wait(), WAIT)
        let_go.set()
        seen = await waiting
        kept_for = await gone_after(client, seen)

    assert (seen.status, seen.result) == ("completed", 1)
    assert kept_for < 3000


async def gone_after(client, job):
    """ms after its end until a job's record is gone."""
    while now_ms() - job.finished_at < 20_000:
        try:
            await client.get(job.id)
        except JobNotFound:
            break
    return now_ms() - job.finished_at
