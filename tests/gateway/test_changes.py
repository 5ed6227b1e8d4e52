"""What happens to all jobs: followed, and asked for from a position on."""

import asyncio

import pytest
from httpx_sse import aconnect_sse

from runtime.client import Lanework, LaneworkSync
from runtime.store.access import issue
from runtime.store.connect import connect
from runtime.store.keys import Keys
from tests.conftest import deploy, serving, until_keys_are_asked_for

WAIT = 20


async def add(a: int = 1) -> int:
    return a


async def fail() -> None:
    raise ValueError("no")


async def collect(http, query, count, **headers):
    """The first events of one connection."""
    found = []
    async with asyncio.timeout(WAIT), aconnect_sse(http, "GET", f"/events{query}", headers=headers) as source:
        async for event in told(source):
            found.append(event)
            if len(found) == count:
                return found
    return found


async def told(source):
    """Without the events that only say that nothing has happened."""
    async for event in source.aiter_sse():
        if event.event != "alive":
            yield event


def shown(events):
    return [(event.json()["type"], event.json()["status"]) for event in events]


async def test_every_status_of_every_job_comes(http, client, worker):
    async with worker(add=add, fail=fail), aconnect_sse(http, "GET", "/events") as source:
        events = told(source)
        first = await client.enqueue("add")
        other = await client.enqueue("fail", max_attempts=1)
        async with asyncio.timeout(WAIT):
            found = [await anext(events) for _ in range(6)]

    by_job = {job.id: [e.json()["status"] for e in found if e.json()["id"] == job.id] for job in (first, other)}
    assert by_job == {first.id: ["pending", "running", "completed"], other.id: ["pending", "running", "failed"]}
    assert {event.event for event in found} == {"status"}


async def test_filters_by_function_and_status(http, client, worker):
    path = "/events?type=add,other&status=completed,failed"
    async with worker(add=add, fail=fail), aconnect_sse(http, "GET", path) as source:
        events = told(source)
        for name in ("fail", "add", "fail", "add"):
            await client.wait(await client.enqueue(name, max_attempts=1), WAIT)
        async with asyncio.timeout(WAIT):
            found = [await anext(events) for _ in range(2)]

    assert shown(found) == [("add", "completed")] * 2


async def test_a_broken_connection_goes_on_without_a_gap_or_a_double(http, client):
    await deploy(client, add=add)
    start = (await http.get("/events")).json()["position"]
    jobs = [(await client.enqueue("add")).id for _ in range(20)]

    found, last = [], start
    while len(found) < 20:
        found += await collect(http, "", 3 if len(found) < 18 else 2, **{"Last-Event-ID": last})
        last = found[-1].id

    assert [event.json()["id"] for event in found] == jobs


async def test_a_stream_on_which_nothing_came_has_a_place_to_go_on_from(http, client):
    await deploy(client, add=add)
    async with aconnect_sse(http, "GET", "/events") as source:
        alive = await anext(source.aiter_sse())

    job = await client.enqueue("add")

    (event,) = await collect(http, "", 1, **{"Last-Event-ID": alive.id})
    assert (alive.event, event.json()["id"]) == ("alive", job.id)


async def test_who_cannot_stream_asks_from_the_position_of_the_last_answer(http, client, worker):
    async with worker(add=add):
        start = (await http.get("/events")).json()
        job = await client.wait(await client.enqueue("add"), WAIT)
        since = (await http.get("/events", params={"after": start["position"]})).json()
        nothing = (await http.get("/events", params={"after": since["position"]})).json()
        done = (await http.get("/events", params={"after": start["position"], "status": "completed"})).json()

    assert (start["changes"], start["gap"]) == ([], False)
    assert [(c["id"], c["status"]) for c in since["changes"]] == [
        (job.id, status) for status in ("pending", "running", "completed")
    ]
    assert (nothing["changes"], nothing["position"]) == ([], since["position"])
    assert [change["status"] for change in done["changes"]] == ["completed"]


async def test_a_position_that_is_no_longer_kept_is_a_gap(http, client, settings):
    await deploy(client, add=add)
    position = (await http.get("/events")).json()["position"]
    await client.enqueue("add")
    redis = connect(settings)
    await redis.delete(Keys(settings.prefix).events(0))
    await redis.aclose()
    await client.enqueue("add")

    asked = (await http.get("/events", params={"after": "1-1.0"})).json()
    (event,) = await collect(http, "", 1, **{"Last-Event-ID": "1-1.0"})

    assert position
    assert (asked["changes"], asked["gap"]) == ([], True)
    assert event.event == "gap"


@pytest.mark.parametrize("after", ["nonsense", "1-1.0_1-1.0", "%00"])
async def test_a_position_that_is_none_is_a_gap_too(http, after):
    assert (await http.get(f"/events?after={after}")).json()["gap"] is True


@pytest.mark.parametrize("query", ["status=odd", "status=progress", "odd=1", "type=a&type=b"])
async def test_a_filter_that_is_none_is_refused(http, query):
    assert (await http.get(f"/events?{query}")).status_code == 422


async def test_all_shards_are_followed(settings):
    settings = settings.model_copy(update={"shards": 3})
    async with Lanework(settings) as client, serving(settings) as http:
        await deploy(client, add=add)
        start = (await http.get("/events")).json()["position"]
        jobs = {(await client.enqueue("add")).id for _ in range(30)}

        found = []
        while len(found) < 30:
            last = found[-1].id if found else start
            found += await collect(http, "", 10, **{"Last-Event-ID": last})
        asked = (await http.get("/events", params={"after": start})).json()["changes"]

    assert {event.json()["id"] for event in found} == {change["id"] for change in asked} == jobs
    assert len(found) == len(asked) == 30


async def test_a_key_sees_its_functions_alone(http, client, worker):
    made, token = issue("own", ["read"], functions=["add"])
    assert await client.access.add(made)
    headers = {"Authorization": f"Bearer {token}"}
    async with worker(add=add, fail=fail):
        await until_keys_are_asked_for(http)
        start = (await http.get("/events", headers=headers)).json()["position"]
        async with aconnect_sse(http, "GET", "/events", headers={**headers}) as source:
            events = told(source)
            for name in ("fail", "add"):
                await client.wait(await client.enqueue(name, max_attempts=1), WAIT)
            async with asyncio.timeout(WAIT):
                found = [await anext(events) for _ in range(3)]
        asked = (await http.get("/events", params={"after": start}, headers=headers)).json()["changes"]

    assert {event.json()["type"] for event in found} == {change["type"] for change in asked} == {"add"}


async def test_the_client_for_code_without_a_loop_follows_too(settings, client):
    await deploy(client, add=add)

    def follow():
        with LaneworkSync(settings) as lanework:
            changes = lanework.changes()
            kinds = [next(changes).kind]
            job = lanework.enqueue("add")
            change = next(changes)
            return kinds, change.id == job.id

    assert await asyncio.to_thread(follow) == (["alive"], True)
