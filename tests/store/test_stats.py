from runtime.store.stats import Depth, Stats


async def test_a_lanes_length_is_what_waits_and_what_runs(store, settings):
    await store.enqueue(count=5)
    first, second, _third = await store.take(3)
    await store.settle(first)
    await store.settle(second, "released")

    assert await Stats(store.client, settings).depths() == [Depth("f", "normal", waiting=3, running=1)]
    assert await store.length() == 4


async def test_what_waits_for_its_time_is_counted_apart(store, settings):
    await store.enqueue()
    (taken,) = await store.take()
    await store.settle(taken, "retry", delay=10_000)

    assert await Stats(store.client, settings).scheduled() == 1
