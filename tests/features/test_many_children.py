"""Attempts that start more jobs than one call may store."""

import asyncio

import pytest

from runtime import Context, function
from runtime.jobs.request import MAX_STARTED
from runtime.store.keys import Keys

WAIT = 30


async def leaf(n: int = 0) -> int:
    return n


@pytest.fixture
def all_settled(client):
    """Waits until so many jobs have settled; returns them."""

    async def wait(count):
        async with asyncio.timeout(WAIT):
            jobs = []
            while len(jobs) < count or not all(job.settled for job in jobs):
                await asyncio.sleep(0.05)
                jobs = [job async for job in every(client)]
            return jobs

    return wait


async def every(client):
    cursor = None
    while True:
        page = await client.page(limit=500, cursor=cursor)
        for job in page.jobs:
            yield job
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_each_of_many_starts_once_and_what_follows_after_all(client, worker, all_settled, where):
    ended = []

    async def part(n: int) -> int:
        ended.append(n)
        return n

    async def whole() -> int:
        return len(ended)

    def work(ctx: Context) -> str:
        for n in range(1100):
            ctx.enqueue("part", {"n": n})
        return ctx.when_all_settled("whole")

    async def on_loop(ctx: Context) -> str:
        return work(ctx)

    async with worker(parent=work if where == "thread" else on_loop, part=part, whole=whole):
        job = await client.wait((await client.enqueue("parent")).id, WAIT)
        jobs = await all_settled(1102)

    assert job.status == "completed"
    assert sorted(ended) == list(range(1100))
    by_id = {job.id: job for job in jobs}
    assert by_id[job.result].result == 1100
    children = (await client.get(job.id)).children
    assert sorted(children) == sorted(by_id.keys() - {job.id})
    assert {by_id[child].parent for child in children} == {job.id}


async def test_a_process_starts_many_too(client, worker, folder, settings, all_settled):
    folder.write(
        leaf="async def handle(n): return n",
        parent="""
        from runtime import Context
        def handle(ctx: Context):
            for n in range(600):
                ctx.enqueue("leaf", {"n": n}, priority="low", then=[])
        """,
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        job = await client.wait((await client.enqueue("parent")).id, WAIT)
        jobs = await all_settled(601)

    assert (job.status, job.error) == ("completed", None)
    assert sorted(j.result for j in jobs if j.type == "leaf") == list(range(600))
    assert {j.lane for j in jobs if j.type == "leaf"} == {"low"}


async def test_what_a_lost_worker_had_left_to_start_is_started(client, worker, all_settled, monkeypatch):
    from runtime.worker.starts import Staging

    monkeypatch.setattr(Staging, "start", lambda self, job_id: None)  # as if it died right after settling

    async def parent(ctx: Context) -> None:
        for n in range(700):
            ctx.enqueue("leaf", {"n": n})

    async with worker(parent=parent, leaf=leaf):
        await client.enqueue("parent")
        jobs = await all_settled(701)

    assert sorted(j.result for j in jobs if j.type == "leaf") == list(range(700))


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_of_an_attempt_that_does_not_complete_nothing_starts_or_is_left(client, worker, redis, settings, end):
    stored = asyncio.Event()

    @function(retry=1)
    async def parent(ctx: Context) -> None:
        for n in range(600):
            ctx.enqueue("leaf", {"n": n})
        if end == "fails":
            ctx.enqueue("nobody")

    async with worker(parent=parent, leaf=leaf) as one:
        stage = one._parts.staging.stage

        async def stage_and_cancel(taken, part, jobs):
            kept = await stage(taken, part, jobs)
            if end == "is cancelled" and part == 1:
                await client.cancel(taken.id)
            stored.set()
            return kept

        for group in one._parts.groups:
            group.slots._runner._starts._stage = stage_and_cancel
        job = await client.enqueue("parent")
        await asyncio.wait_for(stored.wait(), WAIT)
        done = await client.wait(job.id, WAIT)

    assert done.status == {"fails": "failed", "is cancelled": "cancelled"}[end]
    assert len((await client.page()).jobs) == 1
    keys = Keys(settings.prefix)
    assert not await redis.exists(keys.staged(0, job.id), keys.starting(0))


async def test_more_than_there_may_be_fail_at_once(client, worker):
    # in threads: on the loop that the client shares, so long a loop is a server that does not answer
    def parent(ctx: Context) -> None:
        for _ in range(MAX_STARTED + 1):
            ctx.enqueue("leaf")

    def heavy(ctx: Context) -> None:
        for _ in range(70):
            ctx.enqueue("leaf", "x" * 1_000_000)

    async def takes(payload: object) -> None: ...

    async with worker(parent=parent, heavy=heavy, leaf=takes):
        many = await client.wait((await client.enqueue("parent")).id, WAIT)
        large = await client.wait((await client.enqueue("heavy")).id, WAIT)

    assert (many.status, many.attempt, many.error["type"]) == ("failed", 1, "JobInvalid")
    assert "at most 100,000 jobs" in many.error["message"]
    assert (large.status, large.attempt, large.error["type"]) == ("failed", 1, "JobInvalid")
    assert "64 MiB" in large.error["message"]
    assert len((await client.page()).jobs) == 2
