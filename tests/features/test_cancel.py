"""Cancelling jobs, wherever they are."""

import asyncio
import threading

import pytest

from runtime import Context
from runtime.errors import JobNotFound, StatusConflict
from runtime.jobs.request import JobRequest
from runtime.values.clock import now_ms
from tests.conftest import deploy

WAIT = 15


async def f() -> int:
    return 1


async def test_a_waiting_job_is_cancelled_at_once_and_never_runs(client, worker):
    await deploy(client, f=f)
    job, other = await client.enqueue("f"), await client.enqueue("f")

    cancelled = await client.cancel(job.id)
    depths = await client.depths()
    async with worker(f=f):
        await client.wait(other.id, WAIT)

    assert (cancelled.status, cancelled.attempts) == ("cancelled", [])
    assert [depth.waiting for depth in depths] == [1]
    assert (await client.get(job.id)).status == "cancelled"


async def test_a_running_job_is_cancelled_within_a_second(client, worker):
    started, stopped = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with worker(endless=endless):
        job = await client.enqueue("endless")
        await asyncio.wait_for(started.wait(), WAIT)
        asked = now_ms()
        seen = await client.cancel(job.id)
        done = await client.wait(job.id, WAIT)

    assert seen.status in ("running", "cancelled")
    assert seen.cancel_requested_at is not None
    assert (done.status, done.attempts[0]["outcome"]) == ("cancelled", "cancelled")
    assert stopped.is_set()
    assert done.finished_at - asked < 1000


async def test_a_handler_that_ignores_it_has_its_result_dropped(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await let_go.wait()
        return "done all the same"

    async with worker(stubborn=stubborn):
        job = await client.enqueue("stubborn")
        await asyncio.wait_for(started.wait(), WAIT)
        await client.cancel(job.id)
        await client.cancel(job.id)  # asking twice changes nothing
        let_go.set()
        done = await client.wait(job.id, WAIT)

    assert (done.status, done.result, done.error) == ("cancelled", None, None)


async def test_a_handler_may_ask_whether_it_is_cancelled(client, worker):
    started, saw = threading.Event(), threading.Event()

    def polite(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled:
            pass
        saw.set()

    async with worker(polite=polite):
        job = await client.enqueue("polite")
        await asyncio.to_thread(started.wait, WAIT)
        await client.cancel(job.id)
        done = await client.wait(job.id, WAIT)
        assert await asyncio.to_thread(saw.wait, WAIT)

    assert done.status == "cancelled"


async def test_a_settled_job_cannot_be_cancelled(client, worker):
    async with worker(f=f):
        job = await client.enqueue("f")
        await client.wait(job.id, WAIT)

    with pytest.raises(StatusConflict, match="completed"):
        await client.cancel(job.id)
    with pytest.raises(JobNotFound):
        await client.cancel("01900000-0000-7000-8000-000000000000")


async def test_a_job_that_waits_for_a_retry_is_cancelled_with_its_history(client, worker):
    async def broken() -> None:
        raise ValueError("no")

    async with worker(broken=broken):
        job = await client.enqueue("broken", backoff={"base": 3600, "cap": 3600})
        while (await client.get(job.id)).status != "scheduled":
            pass
        done = await client.cancel(job.id)

    assert (done.status, [a["outcome"] for a in done.attempts]) == ("cancelled", ["retry"])


async def test_a_job_whose_worker_was_lost_while_it_was_being_cancelled_is_cancelled(
    client, worker, settings, process, tmp_path, until
):
    place = tmp_path / "functions"
    place.mkdir()
    blocks = tmp_path / "blocks"
    (place / "block.py").write_text(
        f"import time, pathlib\nasync def handle():\n    pathlib.Path({str(blocks)!r}).touch()\n    time.sleep(60)"
    )
    doomed = process("worker", "--functions-dir", str(place), LEASE="1")
    doomed.await_said("worker.started")
    job = await client.enqueue("block")
    until(blocks.exists, "handler that blocks its worker, which so learns of nothing more")

    await client.cancel(job.id)
    doomed.popen.kill()
    async with worker(settings.model_copy(update={"lease": 1.0}), f=f):
        done = await client.wait(job.id, WAIT)

    assert (done.status, [a["outcome"] for a in done.attempts]) == ("cancelled", ["lost"])


# a tree


@pytest.fixture
def family():
    async def root(ctx: Context) -> None:
        for _ in range(3):
            ctx.enqueue("branch")
        ctx.when_all_settled("last")

    async def branch(ctx: Context) -> None:
        ctx.enqueue("leaf", delay=600, then=[JobRequest("last", on="cancelled")])

    async def leaf() -> None: ...

    async def last() -> None:
        await asyncio.sleep(600)

    return {"root": root, "branch": branch, "leaf": leaf, "last": last}


async def test_a_tree_is_cancelled_down_to_what_its_end_lets_start(client, worker, family, http):
    async with worker(**family):
        root = await client.enqueue("root")
        await client.wait(root, 10)
        async with asyncio.timeout(WAIT):
            while len((await client.page(type="leaf")).jobs) < 3:
                await asyncio.sleep(0)

        reply = await http.delete(f"/jobs/{root.id}?tree=1")

        jobs = (await client.page()).jobs
        for job in jobs:
            await client.wait(job, 10)
        jobs = (await client.page()).jobs
    by_type = {name: {job.status for job in jobs if job.type == name} for name in family}
    assert reply.status_code == 200
    assert reply.json()["tree"] == {"cancelled": 7, "partial": False}
    assert by_type == {"root": {"completed"}, "branch": {"completed"}, "leaf": {"cancelled"}, "last": {"cancelled"}}


async def test_without_a_tree_what_a_job_has_started_goes_on(client, worker, family, http):
    async with worker(**family):
        root = await client.enqueue("root")
        await client.wait(root, 10)

        assert (await http.delete(f"/jobs/{root.id}")).status_code == 409
        assert (await http.delete(f"/jobs/{root.id}?tree=0")).status_code == 409
        assert (await http.delete(f"/jobs/{root.id}?tree=all")).status_code == 422
        assert (await http.delete(f"/jobs/{root.id}?trees=1")).status_code == 422


async def test_a_tree_of_a_job_that_is_not_there(http):
    assert (await http.delete("/jobs/01923f5e-0000-7000-8000-000000000000?tree=1")).status_code == 404


async def test_a_tree_waits_for_what_runs_and_cancels_what_that_starts(client, worker, http):
    started = asyncio.Event()

    async def runs() -> None:
        started.set()
        await asyncio.sleep(600)

    async def last() -> None:
        await asyncio.sleep(600)

    async with worker(runs=runs, last=last):
        job = await client.enqueue("runs", then=[JobRequest("last", on="settled")])
        await asyncio.wait_for(started.wait(), WAIT)
        reply = await http.delete(f"/jobs/{job.id}?tree=1")
        (child,) = (await client.wait(job, WAIT)).children
        ended = await client.wait(child, WAIT)

    assert reply.json()["tree"] == {"cancelled": 2, "partial": False}
    assert ended.status == "cancelled"
