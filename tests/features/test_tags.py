"""Tags: jobs that belong together are found, and cancelled, in one call."""

import asyncio

import pytest

from runtime.errors import JobInvalid
from runtime.store.access import issue
from tests.conftest import deploy, until_keys_are_asked_for


async def f(n: int = 0) -> int:
    if n < 0:
        raise ValueError(n)
    return n


async def slow() -> None:
    await asyncio.sleep(600)


@pytest.fixture(autouse=True)
async def deployed(client):
    await deploy(client, f=f, slow=slow)


async def listed(http, **query):
    return [job["id"] for job in (await http.get("/jobs", params=query)).json()["jobs"]]


async def test_jobs_are_found_by_tag_the_newest_first_page_by_page(client, http):
    tagged = [(await client.enqueue("f", {"n": n}, tags={"order": "o1", "shop": "s"})).id for n in range(5)]
    await client.enqueue("f", tags={"order": "o2"})
    await client.enqueue("f")

    first = (await http.get("/jobs", params={"tag": "order:o1", "limit": 3})).json()
    second = (await http.get("/jobs", params={"tag": "order:o1", "limit": 3, "cursor": first["cursor"]})).json()

    # ids sort by the ms of their making
    assert [job["id"] for job in [*first["jobs"], *second["jobs"]]] == sorted(tagged, reverse=True)
    assert (second["cursor"], second["partial"]) == (None, False)
    assert first["jobs"][0]["tags"] == {"order": "o1", "shop": "s"}
    assert len(await listed(http, tag="shop:s")) == 5
    assert await listed(http, tag="order:none") == []


async def test_a_list_of_a_tag_may_be_of_a_status_or_a_function(client, http, worker):
    waiting = await client.enqueue("f", delay=600, tags="order:o1")
    async with worker(f=f):
        done = await client.wait(await client.enqueue("f", {"n": 1}, tags="order:o1"), 10)

    assert await listed(http, tag="order:o1", status="completed") == [done.id]
    assert await listed(http, tag="order:o1", status="scheduled") == [waiting.id]
    assert await listed(http, tag="order:o1", type="slow") == []


async def test_what_waits_of_a_tag_is_cancelled_in_one_call(client, http):
    mine = [(await client.enqueue("f", delay=600, tags="order:o1")).id for _ in range(300)]
    mine += [(await client.enqueue("f", tags={"order": "o1"})).id for _ in range(3)]
    other = await client.enqueue("f", delay=600, tags="order:o2")

    dry = (await http.delete("/jobs?tag=order:o1&dry_run=1")).json()
    done = (await http.delete("/jobs?tag=order:o1")).json()
    again = (await http.delete("/jobs?tag=order:o1")).json()

    assert dry == {"matched": 303, "cancelled": 0, "partial": False}
    assert done == {"matched": 303, "cancelled": 303, "partial": False}
    assert again["matched"] == 0
    assert {(await client.get(job)).status for job in mine} == {"cancelled"}
    assert (await client.get(other.id)).status == "scheduled"


async def test_only_the_statuses_that_are_named_are_cancelled(client, http, worker):
    scheduled = await client.enqueue("f", delay=600, tags="order:o1")
    async with worker(slow=slow):
        running = await client.enqueue("slow", tags="order:o1")
        async with asyncio.timeout(10):
            while (await client.get(running.id)).status != "running":
                await asyncio.sleep(0)
        assert (await http.delete("/jobs?tag=order:o1&status=pending")).json()["matched"] == 0
        stopped = (await http.delete("/jobs?tag=order:o1&status=running")).json()
        ended = await client.wait(running, 10)

    assert (stopped["matched"], stopped["cancelled"]) == (1, 1)
    assert ended.status == "cancelled"
    assert (await client.get(scheduled.id)).status == "scheduled"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?tag=order",
        "?tag=Order:o1",
        "?tag=order:",
        "?tag=a:1,b:2",
        "?tag=order:o1&status=failed",
        "?tag=order:o1&all=1",
    ],
)
async def test_what_names_no_jobs_cancels_none(client, http, query):
    job = await client.enqueue("f", tags="order:o1")

    assert (await http.delete(f"/jobs?{query}")).status_code == 422
    assert (await client.get(job.id)).status == "pending"


@pytest.mark.one_shard
async def test_the_index_lives_no_longer_than_its_jobs(client, worker, redis, settings):
    async with worker(f=f):
        await client.wait(await client.enqueue("f", {"n": 1}, tags="order:o1"), 10)
        (key,) = [key async for key in redis.scan_iter(f"{settings.prefix}:*:tag:*")]
        settled = await redis.pttl(key)
        waiting = await client.enqueue("f", delay=600, tags="order:o1")
        living = await redis.pttl(key)
        await client.cancel(waiting.id)

    day = settings.keep * 1000
    assert day - 60_000 < settled <= day
    assert living == -1
    assert day - 60_000 < await redis.pttl(key) <= day


async def test_a_job_that_is_run_again_is_found_and_one_that_is_deleted_is_not(
    client, http, worker, redis, settings
):
    async with worker(f=f):
        job = await client.enqueue("f", {"n": -1}, max_attempts=1, tags="order:o1")
        await client.wait(job, 10)
    await client.retry(job.id)
    assert (await http.delete("/jobs?tag=order:o1&status=pending&dry_run=1")).json()["matched"] == 1
    async with worker(f=f):
        await client.wait(job, 10)

    await client.purge("f", lambda _job: True)

    assert [key async for key in redis.scan_iter(f"{settings.prefix}:*:tag:*")] == []
    assert await listed(http, tag="order:o1") == []


async def test_a_key_for_other_functions_neither_sees_nor_cancels_them(client, http):
    job = await client.enqueue("f", delay=600, tags="order:o1")
    own = await client.enqueue("slow", delay=600, tags="order:o1")
    made, token = issue("k", ["operate"], functions=["slow"])
    await client.access.add(made)
    headers = {"Authorization": f"Bearer {token}"}
    await until_keys_are_asked_for(http)

    seen = (await http.get("/jobs?tag=order:o1", headers=headers)).json()["jobs"]
    done = (await http.delete("/jobs?tag=order:o1", headers=headers)).json()

    assert [found["id"] for found in seen] == [own.id]
    assert done["matched"] == 1
    assert (await client.get(job.id)).status == "scheduled"


async def test_over_http_tags_are_an_object_or_text(http):
    replies = [
        await http.post("/jobs", json={"type": "f", "tags": {"order": "o1"}}),
        await http.post("/jobs", json={"type": "f", "tags": "order:o1"}),
        await http.post("/functions/f/jobs?tags=order:o1"),
        await http.post("/functions/f/jobs", headers={"Lanework-Tags": "order:o1"}),
    ]

    assert [reply.json()["tags"] for reply in replies] == [{"order": "o1"}] * 4


@pytest.mark.parametrize(
    "tags",
    [
        "order",
        "order:",
        ":o1",
        "a:1,a:2",
        {"Order": "o1"},
        {"order": 1},
        {"order": ""},
        {"order": "x" * 101},
        {"order": "a\nb"},
        {"order": "a,b:c"},
        {f"n{n}": "v" for n in range(9)},
        ["order:o1"],
        7,
    ],
)
async def test_tags_that_cannot_be_are_refused(client, tags):
    with pytest.raises(JobInvalid, match="tags"):
        await client.enqueue("f", tags=tags)


async def test_a_filter_that_fits_few_of_very_many_is_answered_in_time(client, http):
    for _ in range(2):
        await client.enqueue_many("f", [{"n": n} for n in range(6000)], tags="order:o1")
    rare = await client.enqueue("f", delay=600, tags="order:o1")

    first = (await http.get("/jobs?tag=order:o1&status=scheduled")).json()
    older = (await http.get("/jobs?tag=order:o1&before=2020-01-01T00:00:00Z")).json()

    assert [job["id"] for job in first["jobs"]] == [rare.id]
    assert older["jobs"] == []
