"""Where two capabilities meet."""

import asyncio

import msgpack
import pytest

from runtime import Context, function
from runtime.errors import JobInvalid
from runtime.store.connect import opened
from runtime.store.schedules import Schedules
from runtime.values.clock import now_ms
from runtime.values.shards import Shards
from tests.conftest import deploy

WAIT = 20


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_those_parked_behind_a_job_that_is_withdrawn_go_on(client, worker, end):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(concurrency=1, concurrency_key="k")
    async def f(k: str) -> None:
        started.set()
        await let_go.wait()

    async with worker(f=f):
        first = await client.enqueue("f", {"k": "x"})
        await asyncio.wait_for(started.wait(), WAIT)
        second = await client.enqueue("f", {"k": "x"}, **({"ttl": 0.5} if end == "failed" else {}))
        third = await client.enqueue("f", {"k": "x"})
        await client.pause(function="f")
        let_go.set()
        await client.wait(first.id, WAIT)
        if end == "cancelled":
            await client.cancel(second.id)
        withdrawn = await client.wait(second.id, WAIT)
        await client.resume(function="f")
        done = await client.wait(third.id, WAIT)

    assert (withdrawn.status, done.status) == (end, "completed")


async def test_parked_jobs_start_when_their_limit_was_taken_away(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(concurrency=1, concurrency_key="k")
    async def f(k: str) -> None:
        started.set()
        await let_go.wait()

    async def unlimited(k: str) -> None: ...

    async with worker(f=f):
        ids = await client.enqueue_many("f", [{"k": "x"}] * 4)
        await asyncio.wait_for(started.wait(), WAIT)
        await client.pause()
        let_go.set()
        await client.wait(ids[0], WAIT)
    async with worker(f=unlimited):
        await client.resume()
        assert {(await client.wait(job_id, WAIT)).status for job_id in ids} == {"completed"}


async def test_an_attempt_that_is_cancelled_before_its_first_step_frees_its_slot(client, worker, settings):
    async def f() -> None:
        await asyncio.Event().wait()

    async def g() -> int:
        return 1

    async with worker(settings.model_copy(update={"concurrency": 1}), f=f, g=g) as one:
        slots = one._parts.groups[0].slots
        start = slots.start

        def start_and_cancel(taken, function):
            start(taken, function)
            one._parts.held.cancel(taken.id, taken.attempt)

        slots.start = start_and_cancel
        job = await client.enqueue("f")
        assert (await client.wait(job.id, WAIT)).status == "cancelled"
        slots.start = start
        assert (await client.wait((await client.enqueue("g")).id, WAIT)).result == 1
        assert await one._parts.settler.drained(WAIT) == 0  # a waiter hears of an end before its worker does


async def test_an_attempt_may_start_thousands_of_children(client, worker):
    async def leaf() -> None: ...

    async def parent(ctx: Context) -> str:
        for _ in range(5000):
            ctx.enqueue("leaf")
        return ctx.when_all_settled("leaf", priority="low")

    async with worker(parent=parent, leaf=leaf):
        done = await client.wait((await client.enqueue("parent")).id, WAIT)
        async with asyncio.timeout(WAIT):
            while len((await client.get(done.id)).children) < 5001:
                await asyncio.sleep(0.05)
        assert (await client.wait(done.result, WAIT)).status == "completed"


async def test_a_tick_runs_once_with_several_shards_too(settings):
    async def f() -> None: ...

    sharded = settings.model_copy(update={"shards": 4})
    async with opened(sharded) as redis:
        schedules = Schedules(redis, sharded)
        from runtime.store.rows import NewJob

        ticks = [
            await schedules.tick("f", "x|UTC", 1000, 0, NewJob(Shards(4).new_id(), "f", "normal", b"\xc0", 1))
            for _ in range(8)
        ]
        (past,) = await schedules.past("f", ["x|UTC"])

    assert ticks == [True] + [False] * 7
    assert past.ran == 1000


async def test_a_job_that_is_moved_takes_its_ttl_along(client, worker):
    async def f() -> None: ...

    await deploy(client, f=f)
    job = await client.enqueue("f", delay=10, ttl=1)
    moved = await client.move(job.id, delay=100)

    assert moved.start_before - moved.run_at == 1000
    assert moved.run_at - now_ms() > 90_000


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "9500-01-01T00:00:00Z"])
async def test_a_time_beyond_the_calendar_is_refused(client, when):
    async def f() -> None: ...

    await deploy(client, f=f)

    for field in ("run_at", "start_before"):
        with pytest.raises(JobInvalid):
            await client.enqueue("f", **{field: when})
    assert (await client.page()).jobs == []


async def test_with_several_shards_what_comes_then_shares_its_jobs_shard_or_is_refused(settings):
    from runtime.client import Lanework
    from runtime.jobs.request import JobRequest
    from runtime.values import ids

    async def f() -> None: ...

    @function(concurrency=1)
    async def limited() -> None: ...

    async with Lanework(settings.model_copy(update={"shards": 64})) as sharded:
        await deploy(sharded, f=f, limited=limited)
        shard = Shards(64).pinned("limited")
        for _ in range(64):
            job = await sharded._preparer.prepare(JobRequest("f", then=[JobRequest("f")]))
            ((then, *_),) = msgpack.unpackb(job.extras, raw=True)[b"then"]
            assert ids.shard_of(then[0].decode()) == ids.shard_of(job.id)
        refused = 0
        for _ in range(64):
            try:
                job = await sharded._preparer.prepare(JobRequest("f", then=[JobRequest("limited")]))
                assert ids.shard_of(job.id) == shard
            except JobInvalid as error:
                refused += "stay in one shard" in str(error)

    assert refused == 63
