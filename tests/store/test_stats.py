import pytest

from runtime.errors import StatusConflict
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


async def test_no_more_than_1000_names_are_paused(store):
    await store.operations.pause([f"function:f{n}" for n in range(1000)])

    with pytest.raises(StatusConflict, match="resume some"):
        await store.operations.pause(["function:one_more"])

    assert len(await store.operations.paused()) == 1000
    await store.operations.resume(["function:f1"])
    await store.operations.pause(["function:one_more"])


async def test_lanes_by_the_thousand_are_all_counted(store, settings):
    for n in range(1500):
        await store.client.sadd(store.keys.lanes(0), f"f{n}:normal")
    await store.enqueue("f7")

    depths = {depth.function: depth.waiting for depth in await Stats(store.client, settings).depths()}

    assert (len(depths), depths["f7"], depths["f8"]) == (1500, 1, 0)
