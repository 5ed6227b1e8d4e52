"""Idempotency keys, and jobs of which one at a time is enough."""

import asyncio

import pytest

from runtime import function
from runtime.errors import KeyReused
from tests.conftest import deploy

WAIT = 15


async def f(n: int = 0) -> int:
    return n


async def test_the_same_key_with_the_same_request_finds_the_first_job(client):
    await deploy(client, f=f)

    first = await client.enqueue("f", {"n": 1}, key="k")
    second = await client.enqueue("f", {"n": 1}, key="k")

    assert second.id == first.id
    assert len((await client.page()).jobs) == 1


async def test_the_same_key_with_another_request_is_refused(client):
    await deploy(client, f=f)
    first = await client.enqueue("f", {"n": 1}, key="k")

    for other in ({"n": 2}, {"n": 1}):
        with pytest.raises(KeyReused, match=first.id):
            await client.enqueue("f", other, key="k", priority="high")


async def test_requests_at_once_with_one_key_store_one_job(client):
    await deploy(client, f=f)

    jobs = await asyncio.gather(*(client.enqueue("f", {"n": 1}, key="k") for _ in range(50)))

    assert len({job.id for job in jobs}) == 1


async def test_a_key_is_remembered_when_its_job_has_settled(client, worker):
    async with worker(f=f):
        first = await client.enqueue("f", {"n": 1}, key="k")
        await client.wait(first.id, WAIT)
        second = await client.enqueue("f", {"n": 1}, key="k")

    assert (second.id, second.status) == (first.id, "completed")


async def test_a_key_whose_jobs_record_is_gone_says_so_and_stores_nothing(client, worker):
    from runtime.errors import JobNotFound, StatusConflict

    @function(keep=0)
    async def brief() -> None: ...

    async with worker(brief=brief):
        first = await client.enqueue("brief", key="k")
        async with asyncio.timeout(WAIT):
            try:
                while True:
                    await client.get(first.id)
            except JobNotFound:
                pass
        with pytest.raises(StatusConflict, match=first.id):
            await client.enqueue("brief", key="k")


async def test_one_key_for_many_different_payloads_is_refused(client):
    await deploy(client, f=f)

    with pytest.raises(KeyReused):
        await client.enqueue_many("f", [{"n": 1}, {"n": 2}], key="k")


async def test_while_an_equal_job_lives_a_second_one_finds_it(client, worker):
    await deploy(client, f=f)
    first = await client.enqueue("f", {"n": 1}, unique="payload")

    assert (await client.enqueue("f", {"n": 1}, unique="payload")).id == first.id
    assert (await client.enqueue("f", {"n": 2}, unique="payload")).id != first.id
    assert (await client.enqueue("f", {"n": 1})).id != first.id

    async with worker(f=f):
        await client.wait(first.id, WAIT)
        assert (await client.enqueue("f", {"n": 1}, unique="payload")).id != first.id


async def test_a_key_of_ones_own_may_say_what_is_equal(client):
    await deploy(client, f=f)

    first = await client.enqueue("f", {"n": 1}, unique="customer-7")

    assert (await client.enqueue("f", {"n": 2}, unique="customer-7")).id == first.id


@pytest.mark.parametrize("end", ["failed", "cancelled", "completed"])
async def test_a_unique_key_is_free_again_however_its_job_ends(client, worker, end):
    started = asyncio.Event()

    @function(unique="payload", retry=1)
    async def g() -> None:
        started.set()
        if end == "failed":
            raise ValueError("no")
        if end == "cancelled":
            await asyncio.Event().wait()

    async with worker(g=g):
        first = await client.enqueue("g")
        await asyncio.wait_for(started.wait(), WAIT)
        if end == "cancelled":
            assert (await client.enqueue("g")).id == first.id
            await client.cancel(first.id)
        done = await client.wait(first.id, WAIT)
        second = await client.enqueue("g")
        if end == "cancelled":
            await client.cancel(second.id)
        await client.wait(second.id, WAIT)

    assert done.status == end
    assert second.id != first.id


async def test_a_job_that_waits_for_its_retry_still_lives(client, worker):
    async def g() -> None:
        raise ValueError("no")

    async with worker(g=g):
        first = await client.enqueue("g", unique="payload", backoff={"base": 3600, "cap": 3600})
        while (await client.get(first.id)).status != "scheduled":
            pass
        assert (await client.enqueue("g", unique="payload")).id == first.id


async def test_many_at_once_find_their_equals(client):
    await deploy(client, f=f)

    ids = await client.enqueue_many("f", [{"n": n % 3} for n in range(9)], unique="payload")

    assert ids == ids[:3] * 3
    assert len(set(ids)) == 3


async def test_a_failed_job_does_not_run_again_beside_its_equal(client, worker):
    from runtime.errors import StatusConflict

    @function(retry=1)
    async def g() -> None:
        raise ValueError("no")

    async with worker(g=g):
        first = await client.enqueue("g", unique="payload")
        await client.wait(first.id, WAIT)
    second = await client.enqueue("g", unique="payload")

    with pytest.raises(StatusConflict, match="same unique key"):
        await client.retry(first.id)
    await client.cancel(second.id)
    assert (await client.retry(first.id)).status == "pending"
