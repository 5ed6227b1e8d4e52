"""Figures: what waits and runs, for how long and how fast, and where a job stands in its line."""

import asyncio

import pytest

from runtime import function
from runtime.client import Lanework
from runtime.client.counts import Rate
from runtime.store.access import issue
from runtime.store.keys import Keys
from runtime.store.stats import Stats
from tests.conftest import deploy, until_keys_are_asked_for

WAIT = 20


async def add(a: int = 1) -> int:
    return a


@function(retry=1)
async def fail() -> None:
    raise ValueError("no")


async def figures(http, name, **headers):
    functions = (await http.get("/stats", headers=headers)).json()["functions"]
    return {shown["function"]: shown for shown in functions}[name]


async def test_what_waits_runs_and_is_scheduled_by_lane(http, client, worker):
    release = asyncio.Event()

    async def slow() -> None:
        await release.wait()

    async with worker(slow=slow):
        running = await client.enqueue("slow")
        while (await client.get(running.id)).status != "running":
            await asyncio.sleep(0)
        await client.pause(function="slow")
        await client.enqueue("slow")
        await client.enqueue("slow", priority="high")
        await client.enqueue("slow", delay="1h")
        shown = await figures(http, "slow")
        await client.resume(function="slow")
        release.set()

    assert (shown["waiting"], shown["running"], shown["scheduled"], shown["dead"]) == (2, 1, 1, 0)
    assert {lane: own["waiting"] for lane, own in shown["lanes"].items()} == {"normal": 1, "high": 1}
    assert shown["lanes"]["normal"]["scheduled"] == 1
    assert shown["lanes"]["normal"]["running"] == 1


async def test_the_oldest_is_the_first_that_no_worker_has(http, client, redis, settings):
    await deploy(client, add=add)
    assert (await figures(http, "add"))["oldest_seconds"] is None

    key = Keys(settings.prefix).lane(0, "add", "normal")
    seconds, _ = await redis.time()
    await redis.xgroup_create(key, "lw", "0", mkstream=True)
    for age in (100, 50, 20):
        await redis.xadd(key, {"job": f"{age}"}, id=f"{(seconds - age) * 1000}-0")
    await redis.sadd(Keys(settings.prefix).lanes(0), "add:normal")
    await redis.xreadgroup("lw", "+", {key: ">"}, count=2)

    held = await figures(http, "add")
    await redis.xclaim(key, "lw", "-", 0, [f"{(seconds - 50) * 1000}-0"])
    handed_back = await figures(http, "add")

    assert 20 <= held["oldest_seconds"] < 25
    assert 50 <= handed_back["oldest_seconds"] < 55


async def test_rates_count_what_was_stored_completed_and_failed(http, client, worker):
    async with worker(add=add, fail=fail):
        for _ in range(3):
            await client.wait(await client.enqueue("add"), WAIT)
        await client.wait(await client.enqueue("fail"), WAIT)
        added, failed = await figures(http, "add"), await figures(http, "fail")

    assert added["per_minute"]["stored"] == {"1m": 3, "5m": 0.6, "60m": 0.05}
    assert added["per_minute"]["completed"] == {"1m": 3, "5m": 0.6, "60m": 0.05}
    assert failed["per_minute"]["failed"]["1m"] == 1
    assert (failed["dead"], failed["per_minute"]["completed"]["1m"]) == (1, 0)


async def test_children_and_expired_jobs_are_counted(http, client, worker):
    from runtime import Context

    async def parent(ctx: Context) -> None:
        ctx.enqueue("add")

    async with worker(parent=parent, add=add):
        await client.wait(await client.enqueue("parent"), WAIT)
        async with asyncio.timeout(WAIT):
            while (await figures(http, "add"))["per_minute"]["completed"]["1m"] < 1:
                await asyncio.sleep(0.01)
        shown = await figures(http, "add")

    assert shown["per_minute"]["stored"]["1m"] == 1


@pytest.mark.parametrize(
    ("counts", "second", "rate"),
    [
        ([6] + [0] * 60, 30, Rate(6, 1.2, 0.1)),
        ([0, 6] + [0] * 59, 30, Rate(3, 1.2, 0.1)),
        ([0, 6] + [0] * 59, 0, Rate(6, 1.2, 0.1)),
        ([1] * 61, 0, Rate(2, 1.2, 61 / 60)),
    ],
)
def test_a_rate_slides_over_the_minutes(counts, second, rate):
    found = Rate.of(counts, second)

    assert (found.of_1, found.of_5, found.of_60) == pytest.approx((rate.of_1, rate.of_5, rate.of_60))


async def test_counts_are_forgotten_after_the_hour(client, redis, settings):
    await deploy(client, add=add)
    await client.enqueue("add")

    (key,) = [key async for key in redis.scan_iter(f"{settings.prefix}:*:tally:*")]
    assert 3600 < await redis.ttl(key) <= 3720


async def test_a_key_sees_its_functions_alone(http, client):
    await deploy(client, add=add, fail=fail)
    job = await client.enqueue("fail")
    made, token = issue("own", ["read"], functions=["add"])
    assert await client.access.add(made)
    await until_keys_are_asked_for(http)
    headers = {"Authorization": f"Bearer {token}"}

    shown = (await http.get("/stats", headers=headers)).json()["functions"]

    assert [own["function"] for own in shown] == ["add"]
    assert (await http.get(f"/jobs/{job.id}/position", headers=headers)).status_code == 404


# the place in line


async def test_the_place_of_a_job_that_waits(http, client, worker):
    await deploy(client, add=add)
    jobs = [await client.enqueue("add") for _ in range(3)]
    other = await client.enqueue("add", priority="high")

    places = [(await http.get(f"/jobs/{job.id}/position")).json()["ahead"] for job in (*jobs, other)]
    async with worker(add=add):
        await client.wait(jobs[-1], WAIT)
        settled = (await http.get(f"/jobs/{jobs[0].id}/position")).json()

    assert places == [0, 1, 2, 0]
    assert settled == {"id": jobs[0].id, "ahead": None, "exact": True}


async def test_what_was_handed_back_comes_first(client, redis, settings):
    await deploy(client, add=add)
    jobs = [await client.enqueue("add") for _ in range(4)]
    key = Keys(settings.prefix).lane(0, "add", "normal")
    await redis.xgroup_create(key, "lw", "0")
    entries = await redis.xreadgroup("lw", "+", {key: ">"}, count=2)
    first, second = [entry for entry, _ in entries[0][1]]
    await redis.xclaim(key, "lw", "-", 0, [second])

    places = [await client.place(job.id) for job in jobs]

    assert [place and place.ahead for place in places] == [None, 0, 1, 2]
    assert first


async def test_a_scheduled_job_is_in_no_line_and_an_unknown_one_is_not_found(http, client):
    await deploy(client, add=add)
    job = await client.enqueue("add", delay="1h")

    assert (await http.get(f"/jobs/{job.id}/position")).json()["ahead"] is None
    assert (await http.get("/jobs/00000000-0000-7000-8000-000000000000/position")).status_code == 404


async def test_beyond_a_thousand_it_is_told_that_there_are_more(client):
    await deploy(client, add=add)
    jobs = await client.enqueue_many("add", ({"a": n} for n in range(1003)))

    last, within = await client.place(jobs[-1]), await client.place(jobs[1000])

    assert (last.ahead, last.exact) == (1000, False)
    assert (within.ahead, within.exact) == (1000, True)


async def test_what_waits_for_its_key_counts_for_the_age_and_makes_the_place_an_estimate(http, client, worker):
    release = asyncio.Event()

    @function(concurrency=1, concurrency_key="k")
    async def keyed(k: int) -> None:
        await release.wait()

    async with worker(keyed=keyed):
        jobs = [await client.enqueue("keyed", {"k": 1}) for _ in range(3)]
        async with asyncio.timeout(WAIT):
            while (await client.get(jobs[0].id)).status != "running" or await client.place(jobs[2].id):
                await asyncio.sleep(0.01)
        shown = await figures(http, "keyed")
        await client.pause(function="keyed")
        last = await client.enqueue("keyed", {"k": 1})
        place = await client.place(last.id)
        release.set()
        await client.resume(function="keyed")

    assert (shown["waiting"], shown["running"]) == (2, 1)
    assert shown["oldest_seconds"] is not None
    assert place is not None
    assert place.exact is False


async def test_with_several_shards_the_place_is_an_estimate(settings):
    settings = settings.model_copy(update={"shards": 4})
    async with Lanework(settings) as client:
        await deploy(client, add=add)
        jobs = [await client.enqueue("add") for _ in range(80)]
        place = await client.place(jobs[-1].id)

    assert place.exact is False
    assert 30 <= place.ahead <= 160


async def test_a_flood_of_refusals_reads_the_figures_once(http, client, monkeypatch):
    @function(max_waiting=1)
    async def narrow() -> None: ...

    await deploy(client, narrow=narrow)
    await client.enqueue("narrow")
    read, readings = Stats._settled_of, []

    async def counted(self, name):
        readings.append(name)
        return await read(self, name)

    monkeypatch.setattr(Stats, "_settled_of", counted)
    replies = await asyncio.gather(*(http.post("/jobs", json={"type": "narrow"}) for _ in range(50)))

    assert {reply.status_code for reply in replies} == {429}
    assert len(readings) <= 2


async def test_minutes_that_are_over_are_read_once(client, redis, settings, monkeypatch):
    await deploy(client, add=add)
    seconds, _ = await redis.time()
    key = Keys(settings.prefix).tally(0, seconds // 60 - 5)
    await redis.hset(key, "add:normal:completed", 600)
    await redis.expire(key, 60)
    first = await client.stats()
    await redis.delete(key)
    again = await client.stats()

    assert (
        first.functions[0].whole.rates["completed"].of_60 == again.functions[0].whole.rates["completed"].of_60 == 10
    )


# when to try again


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_full_queue_says_how_long_its_next_place_takes(http, client, redis, settings, is_known):
    @function(max_waiting=1)
    async def narrow() -> None: ...

    await deploy(client, narrow=narrow)
    await client.enqueue("narrow")
    seconds, _ = await redis.time()
    for minute in range(6 if is_known else 0):
        key = Keys(settings.prefix).tally(0, seconds // 60 - minute)
        await redis.hset(key, "narrow:normal:completed", 6)
        await redis.expire(key, 60)
    reply = await http.post("/jobs", json={"type": "narrow"})

    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) in ({9, 10, 11, 12} if is_known else {60})
