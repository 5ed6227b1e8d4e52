"""A server that refuses for now, has no memory left, or holds large values."""

import pytest

from runtime.errors import StoreUnavailable
from runtime.store.attempts import Offer


@pytest.fixture
async def config(store):
    """Sets the server's configuration, and puts it back."""
    before = {}

    async def change(name, value):
        before.setdefault(name, (await store.client.config_get(name))[name])
        await store.client.config_set(name, value)

    yield change
    for name, value in before.items():
        await store.client.config_set(name, value)


async def test_a_server_short_of_replicas_is_unavailable_and_nothing_is_stored(store, config):
    await store.enqueue()
    await config("min-replicas-to-write", 1)

    with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
        await store.enqueue()

    await config("min-replicas-to-write", 0)
    assert await store.length() == 1


async def test_a_server_without_memory_accepts_no_job_but_settles_those_that_run(store, config):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()
    await config("maxmemory", 1)

    with pytest.raises(StoreUnavailable):
        await store.enqueue()
    assert await store.settle(taken, value="done")

    await config("maxmemory", 0)
    assert (await store.jobs.get(job_id)).result == "done"
    assert await store.length() == 0


async def test_one_take_brings_no_more_than_some_megabytes(store):
    await store.enqueue(count=60, payload="x" * 500_000)

    took = await store.a.take(60, Offer({"f": ""}))

    assert 8 <= len(took.jobs) < 60
    assert took.has_more
    rest = await store.take(60)
    entries = [_order(taken.entry) for taken in (*took.jobs, *rest)]
    assert entries == sorted(entries)


def _order(entry):
    ms, _, number = entry.partition(b"-")
    return int(ms), int(number)


async def test_the_sweeper_promotes_what_is_due_and_rings_for_it(store):
    await store.enqueue()
    (taken,) = await store.take()
    await store.settle(taken, "retry", delay=0)
    await store.client.delete(store.keys.bell(0, "f"))  # heard by a worker that died before it took

    await store.reclaim()

    assert (await store.jobs.get(taken.id)).status == "pending"
    assert await store.client.exists(store.keys.bell(0, "f"))


async def test_workers_leave_no_consumer_behind(store, settings):
    from runtime.store.attempt_store import AttemptStore

    for n in range(5):
        await store.enqueue()
        one = AttemptStore(store.client, settings, 0, f"worker-{n}")
        (taken,) = await store.take(by=one)
        await store.settle(taken, by=one)

    consumers = await store.client.xinfo_consumers(store.keys.lane(0, "f", "normal"), "lw")
    assert [c["name"] for c in consumers] == [b"+"]
