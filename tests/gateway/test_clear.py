"""What waits of a function can be cleared, in parts, and counted."""

import asyncio

import pytest


async def test_all_that_waits_is_cancelled_and_what_runs_goes_on(http, client, worker, settings):
    running, let_go = asyncio.Event(), asyncio.Event()

    async def busy(n: int) -> int:
        running.set()
        await let_go.wait()
        return n

    one_slot = settings.model_copy(update={"concurrency": 1})
    async with worker(one_slot, busy=busy):
        first = await client.enqueue("busy", {"n": 0}, priority="high")
        await asyncio.wait_for(running.wait(), 20)
        ids = await client.enqueue_many("busy", [{"n": n} for n in range(1000)])
        later = await client.enqueue("busy", {"n": 1}, delay=3600)
        reply = await http.delete("/functions/busy/jobs", params={"status": "pending"})
        let_go.set()
        done = await client.wait(first.id, 20)

    assert reply.json() == {"cancelled": 1000, "partial": False}
    assert {(await client.get(job_id)).status for job_id in (ids[0], ids[500], ids[-1])} == {"cancelled"}
    assert (await client.get(later.id)).status == "scheduled"
    assert done.status == "completed"


async def test_jobs_that_wait_for_their_time_are_cleared_of_one_function_alone(http, client, deployed):
    for n in range(450):
        await client.enqueue("add" if n % 3 else "echo", {"a": 1}, delay=60 + n)

    reply = await http.delete("/functions/add/jobs", params={"status": "scheduled"})

    assert reply.json() == {"cancelled": 300, "partial": False}
    assert len((await client.page(status="scheduled", limit=500)).jobs) == 150


@pytest.mark.parametrize("query", ["", "?status=running", "?status=failed", "?status=pending&x=1"])
async def test_what_is_to_be_cleared_must_be_said(http, deployed, query):
    reply = await http.delete(f"/functions/add/jobs{query}")

    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/query-invalid")
