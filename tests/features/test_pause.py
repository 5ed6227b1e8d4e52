"""Pausing and resuming: everything, one function, one lane."""

import asyncio

from runtime.client import Lanework
from runtime.values.clock import now_ms
from tests.conftest import deploy, looking

WAIT = 15


async def f() -> int:
    return 1


async def test_while_all_is_paused_jobs_are_accepted_and_wait(client, worker):
    async with worker(f=f, marker=f):
        await client.pause()
        job = await client.enqueue("f")
        due = await client.enqueue("f", delay=0.01)
        still = await client.wait(job.id, 0.3)
        await client.resume()
        done = [await client.wait(one.id, WAIT) for one in (job, due)]

    assert (job.status, still.status) == ("pending", "pending")
    assert [one.status for one in done] == ["completed", "completed"]


async def test_what_runs_when_the_pause_begins_finishes(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        started.set()
        await let_go.wait()
        return "finished"

    async with worker(hold=hold):
        job = await client.enqueue("hold")
        await asyncio.wait_for(started.wait(), WAIT)
        await client.pause()
        let_go.set()
        done = await client.wait(job.id, WAIT)
        await client.resume()

    assert done.result == "finished"


async def test_a_paused_function_does_not_hold_up_another(client, worker):
    async with worker(f=f, g=f):
        await client.pause(function="f")
        waits, runs = await client.enqueue("f"), await client.enqueue("g")
        done = await client.wait(runs.id, WAIT)
        assert (await client.get(waits.id)).status == "pending"
        assert await client.paused() == ["function:f"]
        await client.resume(function="f")
        assert (await client.wait(waits.id, WAIT)).status == "completed"

    assert done.status == "completed"


async def test_a_paused_lane_does_not_hold_up_another(client, worker):
    async with worker(f=f):
        await client.pause(lane="high")
        waits, runs = await client.enqueue("f", priority="high"), await client.enqueue("f", priority="low")
        done = await client.wait(runs.id, WAIT)
        assert (await client.get(waits.id)).status == "pending"
        await client.resume(lane="high")
        assert (await client.wait(waits.id, WAIT)).status == "completed"

    assert done.status == "completed"


async def test_resume_starts_work_within_100_ms(client, worker):
    async with worker(f=f):
        await client.pause()
        job = await client.enqueue("f")
        await client.wait(job.id, 0.2)
        resumed = now_ms()
        await client.resume()
        done = await client.wait(job.id, WAIT)

    assert done.started_at - resumed < 100


async def test_a_pause_is_seen_by_every_process_and_outlives_them(client, settings, worker):
    await deploy(client, f=f)
    await client.pause()

    async with worker(f=f), Lanework(settings) as other:
        job = await other.enqueue("f")
        assert await other.paused() == ["*"]
        assert (await other.wait(job.id, 0.3)).status == "pending"
        await other.resume()
        assert (await client.wait(job.id, WAIT)).status == "completed"


async def test_a_function_is_paused_under_all_its_names(client, worker):
    from runtime import function

    @function(aliases=("mail",))
    async def email() -> None: ...

    async with worker(email=email):
        await client.pause(function="mail")
        assert await client.paused() == ["function:email", "function:mail"]
        await client.resume(function="email")
        assert await client.paused() == []


async def test_an_idle_worker_is_not_woken_for_what_is_paused(client, worker, settings):
    async with worker(f=f), looking(settings) as redis:
        await client.pause(function="f")
        job = await client.enqueue("f")
        await client.wait(job.id, 1.5)  # some sweeps
        before = (await redis.info("commandstats"))["cmdstat_blpop"]["calls"]
        await client.wait(job.id, 2)
        after = (await redis.info("commandstats"))["cmdstat_blpop"]["calls"]
        await client.resume(function="f")
        await client.wait(job.id, WAIT)

    assert after - before <= 1
