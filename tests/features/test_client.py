"""The Python client: enqueue one or many, look, and wait."""

import asyncio

import pytest

from runtime.errors import FunctionUnknown, JobNotFound, LaneUnknown, PayloadInvalid
from tests.conftest import deploy

WAIT = 15


@pytest.mark.one_shard
async def test_many_jobs_are_stored_in_their_order(client, worker):
    seen = []

    async def note(n: int) -> None:
        seen.append(n)

    await deploy(client, note=note)
    ids = await client.enqueue_many("note", [{"n": n} for n in range(2500)])
    async with worker(note=note):
        for job_id in (ids[0], ids[-1]):
            assert (await client.wait(job_id, WAIT)).status == "completed"
        async with asyncio.timeout(WAIT):
            while len(seen) < 2500:
                await client.ping()

    assert seen == list(range(2500))


@pytest.mark.one_shard
async def test_large_payloads_go_in_batches_that_a_server_takes_at_once(client):
    async def keep(payload: str) -> None: ...

    await deploy(client, keep=keep)

    ids = await client.enqueue_many("keep", ["x" * 900_000] * 40)

    listed = [job.id for job in (await client.page(limit=50)).jobs]
    assert listed == ids[::-1]


async def test_nothing_is_stored_when_one_of_many_payloads_does_not_fit(client):
    async def note(n: int) -> None: ...

    await deploy(client, note=note)

    with pytest.raises(PayloadInvalid, match="/n"):
        await client.enqueue_many("note", [{"n": 1}, {"n": "x"}])
    assert (await client.page()).jobs == []


async def test_an_unknown_function_names_those_that_are_near(client):
    async def resize() -> None: ...

    await deploy(client, resize=resize)

    with pytest.raises(FunctionUnknown, match="did you mean resize"):
        await client.enqueue("resise")


async def test_an_unknown_lane_is_refused(client):
    async def f() -> None: ...

    await deploy(client, f=f)

    with pytest.raises(LaneUnknown, match="lanes from lowest to highest"):
        await client.enqueue("f", priority="urgent")


async def test_bytes_may_be_sent_and_come_back(client, worker):
    async def echo(payload: bytes) -> bytes:
        return payload

    async with worker(echo=echo):
        done = await client.wait((await client.enqueue("echo", b"\x00\xff")).id, WAIT)

    assert done.result == b"\x00\xff"


async def test_waiting_for_a_job_that_does_not_settle_gives_it_as_it_is(client):
    async def f() -> None: ...

    await deploy(client, f=f)
    job = await client.enqueue("f")

    assert (await client.wait(job.id, 0.05)).status == "pending"


async def test_many_may_wait_for_one_job(client, worker):
    let_go = asyncio.Event()

    async def gated() -> str:
        await let_go.wait()
        return "open"

    async with worker(gated=gated):
        job = await client.enqueue("gated")
        waiting = [asyncio.create_task(client.wait(job.id, WAIT)) for _ in range(20)]
        while (await client.get(job.id)).status != "running":
            await asyncio.sleep(0)
        let_go.set()
        assert {done.result for done in await asyncio.gather(*waiting)} == {"open"}


@pytest.mark.parametrize(
    "job_id", ["x", "01890000-0000-7000-8000-000000000000", "01890000-0000-7fff-8000-000000000000"]
)
async def test_a_job_that_never_was_is_not_found(client, job_id):
    with pytest.raises(JobNotFound):
        await client.get(job_id)


async def test_jobs_spread_over_shards_all_run(settings, worker):
    from runtime.client import Lanework

    async def double(n: int) -> int:
        return 2 * n

    sharded = settings.model_copy(update={"shards": 3})
    async with Lanework(sharded) as client, worker(sharded, double=double):
        jobs = [await client.enqueue("double", {"n": n}) for n in range(9)]
        results = [(await client.wait(job.id, WAIT)).result for job in jobs]

    assert results == [2 * n for n in range(9)]


async def test_an_error_in_the_middle_of_many_tells_what_was_stored(client):
    async def note(n: int) -> None: ...

    await deploy(client, note=note)

    with pytest.raises(PayloadInvalid, match="64 bits") as wrong:
        await client.enqueue_many("note", [{"n": 1}] * 2500 + [{"n": 2**70}] + [{"n": 1}] * 10)
    stored = {job.id for job in (await client.page(limit=500)).jobs}
    assert len(wrong.value.stored) == 2000
    assert stored <= set(wrong.value.stored)


async def test_after_the_time_to_wait_the_job_is_told_as_it_is_then(client, worker):
    started = asyncio.Event()

    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    async with worker(slow=slow):
        await client.pause()
        job = await client.enqueue("slow")
        waiting = asyncio.create_task(client.wait(job.id, 3.0))
        await client.resume()
        await asyncio.wait_for(started.wait(), 2.5)
        assert (await waiting).status == "running"
        await client.cancel(job.id)
