"""Jobs that start jobs: children, what comes then, and joins."""

import asyncio

import pytest

from runtime import Context, Retry, function
from runtime.jobs.request import JobRequest

WAIT = 15


async def leaf(n: int = 0) -> int:
    return n


async def settle_all(client):
    """Every job there is, once all have settled."""
    while True:
        jobs = (await client.page(limit=500)).jobs
        waiting = [job for job in jobs if not job.settled]
        if not waiting:
            return jobs
        await client.wait(waiting[0].id, WAIT)


async def test_children_start_when_their_attempt_has_completed(client, worker):
    at_work, let_go = asyncio.Event(), asyncio.Event()

    async def parent(ctx: Context) -> list[str]:
        ids = [ctx.enqueue("leaf", {"n": n}, priority="high") for n in range(3)]
        at_work.set()
        await let_go.wait()
        return ids

    async with worker(parent=parent, leaf=leaf):
        job = await client.enqueue("parent")
        await asyncio.wait_for(at_work.wait(), WAIT)
        assert len((await client.page()).jobs) == 1
        let_go.set()
        done = await client.wait(job.id, WAIT)
        children = [await client.wait(job_id, WAIT) for job_id in done.result]

    assert done.children == done.result
    assert [(c.status, c.result, c.parent, c.lane) for c in children] == [
        ("completed", n, job.id, "high") for n in range(3)
    ]


async def test_an_attempt_that_fails_starts_nothing(client, worker):
    @function(retry=Retry(max_attempts=2, base=0))
    async def parent(ctx: Context) -> None:
        ctx.enqueue("leaf", {"n": ctx.job.attempt})
        if ctx.job.attempt == 1:
            raise ValueError("not yet")

    async with worker(parent=parent, leaf=leaf):
        done = await client.wait((await client.enqueue("parent")).id, WAIT)
        jobs = await settle_all(client)

    assert [job.result for job in jobs if job.type == "leaf"] == [2]
    assert len(done.children) == 1


@pytest.mark.parametrize("child", [("nobody", {}), ("leaf", {"n": "x"}), ("leaf", {"n": 1, "m": 2})])
async def test_a_child_that_cannot_be_stored_fails_the_attempt(client, worker, child):
    @function(retry=1)
    async def parent(ctx: Context) -> None:
        ctx.enqueue("leaf")
        ctx.enqueue(*child)

    async with worker(parent=parent, leaf=leaf):
        done = await client.wait((await client.enqueue("parent")).id, WAIT)
        jobs = await settle_all(client)

    assert (done.status, done.error["type"]) in [("failed", "FunctionUnknown"), ("failed", "PayloadInvalid")]
    assert [job.type for job in jobs] == ["parent"]


async def test_what_comes_then_starts_when_the_job_has_completed(client, worker):
    async with worker(leaf=leaf):
        job = await client.enqueue(
            "leaf",
            {"n": 1},
            then=[
                JobRequest("leaf", {"n": 2}, then=[JobRequest("leaf", {"n": 3})]),
                JobRequest("leaf", {"n": 4}, delay=0.1),
            ],
        )
        jobs = await settle_all(client)
        while len(jobs) < 4:
            jobs = await settle_all(client)

    by_result = {job.result: job for job in jobs}
    assert sorted(by_result) == [1, 2, 3, 4]
    assert by_result[2].parent == by_result[4].parent == job.id
    assert by_result[3].parent == by_result[2].id
    assert set(by_result[1].children) == {by_result[2].id, by_result[4].id}


async def test_what_comes_then_does_not_start_after_a_failure(client, worker):
    @function(retry=1)
    async def broken() -> None:
        raise ValueError("no")

    async with worker(broken=broken, leaf=leaf):
        job = await client.enqueue("broken", then=[JobRequest("leaf")])
        done = await client.wait(job.id, WAIT)

    assert (done.status, done.children) == ("failed", [])
    assert len((await client.page()).jobs) == 1


async def test_then_starts_when_a_failed_job_was_run_again_and_completed(client, worker):
    well = False

    @function(retry=1)
    async def moody() -> None:
        if not well:
            raise ValueError("no")

    async with worker(moody=moody, leaf=leaf):
        job = await client.enqueue("moody", then=[JobRequest("leaf")])
        await client.wait(job.id, WAIT)
        well = True
        await client.retry(job.id)
        done = await client.wait(job.id, WAIT)
        (child,) = done.children
        assert (await client.wait(child, WAIT)).status == "completed"


async def test_a_follow_up_starts_once_all_children_have_settled_however(client, worker):
    settled = []

    @function(retry=1)
    async def part(n: int) -> None:
        await asyncio.sleep(0.01 * n)
        settled.append(n)
        if n == 2:
            raise ValueError("one of them fails")

    async def whole() -> list[int]:
        return list(settled)

    async def parent(ctx: Context) -> str:
        for n in range(5):
            ctx.enqueue("part", {"n": n})
        cancelled = ctx.enqueue("part", {"n": 9}, delay="1h")
        ctx.when_all_settled("whole", priority="high")
        return cancelled

    async with worker(part=part, whole=whole, parent=parent):
        job = await client.wait((await client.enqueue("parent")).id, WAIT)
        for child in job.children[:5]:
            await client.wait(child, WAIT)
        assert len((await client.get(job.id)).children) == 6
        await client.cancel(job.result)
        while len((seen := await client.get(job.id)).children) < 7:
            pass
        done = await client.wait(seen.children[-1], WAIT)

    assert (done.type, done.parent, sorted(done.result)) == ("whole", job.id, [0, 1, 2, 3, 4])


async def test_a_follow_up_without_children_starts_at_once(client, worker):
    async def parent(ctx: Context) -> str:
        return ctx.when_all_settled("leaf", {"n": 7})

    async with worker(parent=parent, leaf=leaf):
        job = await client.wait((await client.enqueue("parent")).id, WAIT)
        assert (await client.wait(job.result, WAIT)).result == 7


async def test_a_child_that_runs_again_is_not_counted_twice(client, worker):
    @function(retry=1)
    async def part(n: int) -> None:
        raise ValueError("no")

    async def parent(ctx: Context) -> None:
        ctx.enqueue("part", {"n": 1})
        ctx.enqueue("part", {"n": 2}, delay="1h")
        ctx.when_all_settled("leaf")

    async with worker(part=part, leaf=leaf, parent=parent):
        job = await client.wait((await client.enqueue("parent")).id, WAIT)
        first, second = job.children
        for _ in range(3):
            assert (await client.wait(first, WAIT)).status == "failed"
            await client.retry(first)
        await client.wait(first, WAIT)
        assert len((await client.get(job.id)).children) == 2
        await client.cancel(second)
        while len((await client.get(job.id)).children) < 3:
            pass
        await settle_all(client)

    assert [j.status for j in (await client.page(type="leaf")).jobs] == ["completed"]


async def test_a_child_has_no_idempotency_key(client, worker):
    async def parent(ctx: Context) -> None:
        ctx.enqueue("leaf", key="once")  # type: ignore[call-arg]

    async with worker(parent=parent, leaf=leaf):
        job = await client.wait((await client.enqueue("parent", max_attempts=1)).id, WAIT)

    assert job.status == "failed"
    assert "idempotency key" in job.error["message"]


async def test_what_follows_may_have_any_payload_whatever_else_is_asked_for(client, worker):
    async def first(ctx: Context) -> int:
        if ctx.job.attempt == 1:
            raise ValueError("again")
        return ctx.job.attempt

    async def last(payload: object) -> object:
        return payload

    async with worker(first=first, last=last):
        then = [JobRequest("last", {"n": 200, "bytes": b"\xff\xfe"})]
        job = await client.enqueue("first", then=then, backoff=0)
        done = await client.wait(job.id, WAIT)
        after = await client.wait(done.children[0], WAIT)

    assert (done.status, done.attempt) == ("completed", 2)
    assert after.result == {"n": 200, "bytes": b"\xff\xfe"}
