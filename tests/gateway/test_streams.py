"""A job's events on its own URL, read by a client that is not ours."""

import asyncio

import httpx
import pytest
from httpx_sse import aconnect_sse

from runtime import Context
from runtime.store.connect import connect
from runtime.store.keys import Keys

SSE = {"Accept": "text/event-stream"}


async def steps(ctx: Context, count: int, fail: bool = False) -> int:
    for n in range(1, count + 1):
        ctx.progress(n, count)
        await asyncio.sleep(0.3)
    if fail:
        raise ValueError("bad day")
    return count


async def read(http, path, limit=1000, **headers):
    """The events of one connection, at most `limit`."""
    events = []
    async with aconnect_sse(http, "GET", path, headers=headers) as source:
        assert source.response.status_code == 200
        async for event in source.aiter_sse():
            events.append(event)
            if len(events) == limit:
                break
    return events


async def test_a_job_is_followed_from_its_post_to_its_end(http, worker):
    body = {"type": "steps", "payload": {"count": 3}}
    async with worker(steps=steps), aconnect_sse(http, "POST", "/jobs", json=body) as source:
        events = [event async for event in source.aiter_sse()]

    assert source.response.status_code == 202
    assert events[0].event == "status"
    assert events[-1].event == "settled"
    job = events[-1].json()
    assert (job["status"], job["result"]) == ("completed", 3)
    assert source.response.headers["location"] == f"/jobs/{job['id']}"
    done = [event.json()["progress"]["done"] for event in events if event.event == "progress"]
    assert done == sorted(set(done))
    assert done[-1] == 3
    assert "running" in [event.json()["status"] for event in events if event.event == "status"]


async def test_a_broken_connection_goes_on_without_a_gap_or_a_double(http, worker):
    async with worker(steps=steps):
        job = (await http.post("/jobs", json={"type": "steps", "payload": {"count": 6}})).json()
        events = []
        while not events or events[-1].event != "settled":
            last = {"Last-Event-ID": events[-1].id} if events else {}
            events += await read(http, f"/jobs/{job['id']}", limit=2, **last)

    ids = [event.id for event in events]
    done = [event.json()["progress"]["done"] for event in events if event.event == "progress"]
    assert len(set(ids)) == len(ids)
    assert "gap" not in [event.event for event in events]
    assert done[-1] == 6


async def test_a_settled_job_is_one_event(http, worker):
    async with worker(steps=steps):
        job = (await http.post("/jobs?wait=20", json={"type": "steps", "payload": {"count": 1}})).json()
        (event,) = await read(http, f"/jobs/{job['id']}")

    assert (event.event, event.json()["result"]) == ("settled", 1)


async def test_a_retry_is_seen(http, worker):
    body = {"type": "steps", "payload": {"count": 1, "fail": True}, "max_attempts": 2, "backoff": "0s"}
    async with worker(steps=steps):
        job = (await http.post("/jobs", json=body)).json()
        events = await read(http, f"/jobs/{job['id']}")

    statuses = [(event.json()["status"], event.json()["attempt"]) for event in events if event.event == "status"]
    assert ("running", 2) in statuses
    assert (events[-1].json()["status"], len(events[-1].json()["attempts"])) == ("failed", 2)


@pytest.mark.parametrize("last", ["1-0.0", "nonsense", "999999999999999-0.0"])
async def test_what_cannot_be_filled_is_told(http, deployed, last, settings):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()
    client = connect(settings)
    await client.delete(Keys(settings.prefix).events(0))
    await client.aclose()

    first, second = await read(http, f"/jobs/{job['id']}", 2, **{"Last-Event-ID": last})

    assert (first.event, second.event, second.json()["status"]) == ("gap", "status", "pending")


async def test_a_position_that_has_not_been_reached_is_a_gap_and_not_silence(http, worker):
    async with worker(steps=steps):
        job = (await http.post("/jobs", json={"type": "steps", "payload": {"count": 2}})).json()
        events = await read(http, f"/jobs/{job['id']}", **{"Last-Event-ID": "999999999999999-0.0"})

    assert (events[0].event, events[-1].event) == ("gap", "settled")


async def test_behind_the_end_there_is_nothing_to_follow(http, worker):
    async with worker(steps=steps):
        job = (await http.post("/jobs", json={"type": "steps", "payload": {"count": 1}})).json()
        events = await read(http, f"/jobs/{job['id']}")
        again = await http.get(f"/jobs/{job['id']}", headers={**SSE, "Last-Event-ID": events[-1].id})

    assert (again.status_code, again.content) == (204, b"")


async def test_an_end_between_two_looks_ends_the_stream(client, deployed, monkeypatch):
    job = await client.enqueue("echo")
    first = await anext(client.watch(job.id))
    get = client._store.jobs.get

    async def get_and_cancel(job_id):
        monkeypatch.setattr(client._store.jobs, "get", get)
        found = await get(job_id)
        await client.cancel(job_id)
        return found

    monkeypatch.setattr(client._store.jobs, "get", get_and_cancel)
    async with asyncio.timeout(10):
        events = [event async for event in client.watch(job.id, str(first.position))]

    assert [event.kind for event in events] == ["settled"]


async def test_each_status_is_the_one_of_its_event(http, worker):
    async with worker(steps=steps):
        job = (await http.post("/jobs", json={"type": "steps", "payload": {"count": 1}, "delay": "1s"})).json()
        events = await read(http, f"/jobs/{job['id']}")

    statuses = [event.json()["status"] for event in events if event.event != "progress"]
    assert statuses == ["scheduled", "pending", "running", "completed"]


async def test_an_unknown_job_is_a_problem(http, deployed):
    reply = await http.get("/jobs/none", headers=SSE)

    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("accept", ["application/json, text/event-stream", "*/*", "text/html"])
async def test_who_would_rather_have_json_gets_it(http, deployed, accept):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()

    reply = await http.get(f"/jobs/{job['id']}", headers={"Accept": accept})

    assert reply.json()["id"] == job["id"]


async def test_a_look_at_the_headers_alone_does_not_follow(http, deployed):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()

    assert (await http.head(f"/jobs/{job['id']}", headers=SSE)).status_code == 200


async def test_a_reader_that_goes_away_leaves_nothing_behind(http, client, deployed, settings):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()

    for _ in range(3):
        await read(http, f"/jobs/{job['id']}", limit=1)

    reply = await http.get(f"/jobs/{job['id']}", params={"wait": 1})
    assert reply.status_code == 202


async def test_many_streams_share_one_connection_to_redis(http, client, deployed, redis):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()
    limits = httpx.Limits(max_connections=None)
    begun = asyncio.Semaphore(0)

    async def follow(many):
        async with aconnect_sse(many, "GET", f"/jobs/{job['id']}") as source:
            events = []
            async for event in source.aiter_sse():
                events.append(event)
                begun.release()
        return events[-1].json()["status"]

    async with httpx.AsyncClient(base_url=http.base_url, timeout=20, trust_env=False, limits=limits) as many:
        followers = [asyncio.create_task(follow(many)) for _ in range(200)]
        for _ in followers:
            await asyncio.wait_for(begun.acquire(), 20)
        blocked = [one for one in await redis.client_list() if one["cmd"] == "xread"]
        await http.delete(f"/jobs/{job['id']}")
        ended = await asyncio.gather(*followers)

    assert set(ended) == {"cancelled"}
    assert len(blocked) == 1
