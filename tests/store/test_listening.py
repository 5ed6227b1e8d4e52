"""A take that is sent ahead: it runs when the bell rings, even if its worker cannot any more."""

import asyncio

import pytest

from runtime.store.attempts import Offer
from runtime.store.connect import opened


@pytest.fixture
async def listening(store, settings):
    """`await listening()` sends worker a's take ahead and gives the task that waits for it."""
    async with opened(settings, timeout=None) as blocking:
        tasks = []

        async def listen():
            await store.take()
            before = int((await store.client.info("clients"))["blocked_clients"])
            tasks.append(asyncio.create_task(store.a.hear_and_take(blocking, 5, Offer({"f": ""}), 30)))
            async with asyncio.timeout(10):
                while int((await store.client.info("clients"))["blocked_clients"]) <= before:
                    await asyncio.sleep(0)
            return tasks[-1]

        yield listen
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_it_hears_of_is_taken_in_the_same_round_trip(store, listening):
    waiting = await listening()

    (job_id,) = await store.enqueue()

    assert [t.id for t in (await asyncio.wait_for(waiting, 10)).jobs] == [job_id]


async def test_a_worker_that_was_not_heard_of_for_a_lease_is_given_nothing(store, listening):
    waiting = await listening()
    await store.client.delete(store.keys.alive(0, "worker-a"))

    (job_id,) = await store.enqueue()

    assert (await asyncio.wait_for(waiting, 10)).jobs == []
    assert await store.client.exists(store.keys.bell(0, "f"))
    assert [t.id for t in await store.take(by=store.b)] == [job_id]


async def test_it_can_be_ended_by_its_own_worker(store, listening):
    waiting = await listening()

    await store.a.wake()

    assert (await asyncio.wait_for(waiting, 10)).jobs == []
