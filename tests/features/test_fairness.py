"""Who is served next: lanes by rank or by weight, functions of a lane in turn."""

import asyncio

import pytest

from runtime.errors import SettingsInvalid
from runtime.settings import load
from tests.conftest import deploy

WAIT = 20


def recorder():
    order = []

    async def f(who: str) -> None:
        order.append(who)
        await asyncio.sleep(0)

    return f, order


@pytest.mark.one_shard
async def test_lanes_share_by_weight_where_weights_are_set(client, worker, settings):
    f, order = recorder()
    await deploy(client, f=f)
    for lane in ("low", "normal", "high"):
        await client.enqueue_many("f", [{"who": lane}] * 300, priority=lane)

    weights = {"high": 6, "normal": 3, "low": 1}
    async with worker(settings.model_copy(update={"lane_weights": weights, "concurrency": 1}), f=f):
        while len(order) < 200:
            await asyncio.sleep(0.005)
        begun = order[:200]

    assert [begun.count(lane) for lane in ("high", "normal", "low")] == [120, 60, 20]


@pytest.mark.one_shard
async def test_a_lane_that_was_empty_is_owed_nothing(client, worker, settings):
    f, order = recorder()
    await deploy(client, f=f)
    await client.enqueue_many("f", [{"who": "low"}] * 300, priority="low")
    weights = {"high": 1, "normal": 1, "low": 1}

    async with worker(settings.model_copy(update={"lane_weights": weights, "concurrency": 1}), f=f):
        while len(order) < 100:
            await asyncio.sleep(0.001)
        await client.enqueue_many("f", [{"who": "high"}] * 100, priority="high")
        while "high" not in order:
            await asyncio.sleep(0.001)
        first = order.index("high")
        while len(order) < first + 40:
            await asyncio.sleep(0.001)

    assert 18 <= order[first : first + 40].count("low") <= 22


@pytest.mark.one_shard
async def test_without_weights_a_higher_lane_is_always_first(client, worker, settings):
    f, order = recorder()
    await deploy(client, f=f)
    ids = {
        lane: await client.enqueue_many("f", [{"who": lane}] * 20, priority=lane)
        for lane in ("low", "normal", "high")
    }

    async with worker(settings.model_copy(update={"concurrency": 1}), f=f):
        await client.wait(ids["low"][-1], WAIT)

    assert order == ["high"] * 20 + ["normal"] * 20 + ["low"] * 20


async def test_a_huge_backlog_of_one_function_delays_anothers_single_job_by_what_runs(client, worker, settings):
    order = []

    async def busy() -> None:
        order.append("busy")
        await asyncio.sleep(0.001)

    async def rare() -> None:
        order.append("rare")

    await deploy(client, busy=busy, rare=rare)
    await client.enqueue_many("busy", [None] * 20_000)
    async with worker(settings.model_copy(update={"concurrency": 10, "grace": 0.0}), busy=busy, rare=rare):
        while len(order) < 50:
            await asyncio.sleep(0)
        before = len(order)
        await client.wait((await client.enqueue("rare")).id, WAIT)
        place = order.index("rare")
        await client.pause()

    # what ran, and what was taken while the job was on its way
    assert place - before < 200


@pytest.mark.parametrize("given", ["high=6", "high=6,normal=3,low=0", "high=6,normal=3,low=1,more=1", "high,low"])
def test_weights_name_each_lane_once(given):
    with pytest.raises(SettingsInvalid, match="lane_weights"):
        load({}, lane_weights=given)


def test_weights_are_read_from_text():
    assert load({}, lane_weights="high=6,normal=3,low=1").lane_weights == {"high": 6, "normal": 3, "low": 1}
