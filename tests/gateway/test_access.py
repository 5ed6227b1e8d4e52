"""Who may do what: access keys, their scopes, functions and rates."""

import asyncio
import json

import pytest
import structlog
from httpx_sse import aconnect_sse

from runtime import function
from runtime.gateway.access.scopes import ITS_OWN, OPEN, scope_of
from runtime.gateway.app import create_app
from runtime.gateway.connect import is_method
from runtime.store.access import issue
from tests.conftest import deploy, serving, until_keys_are_asked_for

pytestmark = pytest.mark.usefixtures("deployed")


@pytest.fixture
def key(client):
    """`key("enqueue", …)` makes an access key, and gives the headers that show it."""

    async def make(*scopes, name="", **limits):
        made, token = issue(name or f"k{len(await client.access.all())}", scopes, **limits)
        assert await client.access.add(made)
        return {"Authorization": f"Bearer {token}"}

    return make


def code(reply):
    return reply.status_code, reply.json()["type"].rpartition("/")[2]


async def until(ask, wanted):
    async with asyncio.timeout(10):
        while (reply := await ask()).status_code != wanted:
            await asyncio.sleep(0)
    return reply


# who is let in


async def test_a_gateway_on_loopback_is_open_until_there_is_a_key(http, key):
    assert (await http.get("/jobs")).status_code == 200

    await key("read")

    refused = await until(lambda: http.get("/jobs"), 401)
    assert code(refused) == (401, "access-denied")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


async def test_it_asks_at_once_where_others_can_reach_it(settings):
    async with serving(settings.model_copy(update={"host": "0.0.0.0"})) as http:
        assert (await http.get("/jobs")).status_code == 401
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer lw_",
        "Basic bHc6bHc=",
        "Bearer lw_reader_" + "x" * 43,
        "Bearer lw_nobody_" + "x" * 43,
        "Bearer ly_\xff",
    ],
)
async def test_what_is_no_key_is_refused(http, key, shown):
    await key("read", name="reader")
    await until_keys_are_asked_for(http)

    reply = await http.get("/jobs", headers=[(b"authorization", shown.encode("latin-1"))])

    assert code(reply) == (401, "access-denied")


async def test_probes_and_pages_that_tell_nothing_are_open(http, key):
    await key("read")
    await until_keys_are_asked_for(http)

    for path in sorted(OPEN):
        reply = await http.get(path.replace("{file}", "docs.js").replace("{code}", "too-large"))
        assert reply.status_code == 200, path


async def test_a_revoked_key_is_refused(http, key, client):
    reader = await key("read", name="reader")
    await until(lambda: http.get("/jobs", headers=reader), 200)

    await client.access.revoke("reader")

    refused = await until(lambda: http.get("/jobs", headers=reader), 401)
    assert "reader is revoked" in refused.json()["detail"]


async def test_an_expired_key_is_refused(http, key):
    short = await key("read", expires=0.2)

    refused = await until(lambda: http.get("/jobs", headers=short), 401)

    assert "expired" in refused.json()["detail"]


# what a key may do


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["enqueue"], "POST", "/jobs", 202),
        (["enqueue"], "GET", "/jobs", 403),
        (["enqueue"], "POST", "/jobs/pause", 403),
        (["read"], "GET", "/jobs", 200),
        (["read"], "POST", "/jobs", 403),
        (["read"], "GET", "/functions", 200),
        (["read"], "GET", "/openapi.json", 200),
        (["operate"], "POST", "/jobs/resume", 200),
        (["operate"], "GET", "/jobs", 200),
        (["operate"], "POST", "/jobs", 403),
        (["read"], "GET", "/metrics", 200),
        (["metrics"], "GET", "/metrics", 200),
        (["metrics"], "GET", "/scale/echo", 200),
        (["metrics"], "GET", "/jobs", 403),
        (["operate"], "GET", "/metrics", 200),
        (["enqueue"], "GET", "/metrics", 403),
        (["admin"], "POST", "/jobs", 202),
        (["admin"], "POST", "/jobs/resume", 200),
    ],
)
async def test_a_key_has_its_scopes_alone(http, key, scopes, method, path, status):
    headers = await key(*scopes)
    body = {"json": {"type": "echo"}} if path == "/jobs" and method == "POST" else {}
    await until_keys_are_asked_for(http)

    assert (await http.request(method, path, headers=headers, **body)).status_code == status


def test_every_path_of_the_app_but_the_open_ones_needs_a_scope(settings):
    for route in create_app(settings).routes:
        for method in route.app.methods:
            assert (scope_of(method, route.path) is None) == (route.path in OPEN | ITS_OWN)
            assert (
                scope_of(method, route.path) not in ("read", "metrics") or method == "GET" or is_method(route.path)
            )


async def test_a_key_that_may_not_read_does_not_wait_for_results_either(http, key, client):
    sender = await key("enqueue")
    await until_keys_are_asked_for(http)

    for path, more in (("/jobs?wait=1", {}), ("/jobs", {"Accept": "text/event-stream"})):
        reply = await http.post(path, json={"type": "echo"}, headers=sender | more)
        assert code(reply) == (403, "access-forbidden")
    assert (await client.page()).jobs == []


async def test_a_key_that_may_not_read_does_not_see_a_job_that_was_there_before(http, key, client):
    await client.enqueue("echo", {"secret": 1}, unique="u")
    sender = await key("enqueue")
    await until_keys_are_asked_for(http)

    found = await http.post("/jobs", json={"type": "echo", "payload": 2, "unique": "u"}, headers=sender)

    assert found.status_code == 200
    assert (found.json()["payload"], found.json()["payload_omitted"]) == (None, True)


async def test_nor_what_came_of_its_own_job_already(http, key, worker):
    async def fast() -> str:
        return "secret"

    sender = await key("enqueue")
    await until_keys_are_asked_for(http)
    async with worker(fast=fast):
        asked = [http.post("/jobs", json={"type": "fast", "ttl": 60}, headers=sender) for _ in range(100)]
        replies = [reply.json() for reply in await asyncio.gather(*asked)]

    assert {(reply["result"], reply["result_omitted"]) for reply in replies} == {(None, True)}


async def test_a_gateway_that_has_asked_for_keys_goes_on_asking_when_all_are_lost(http, key, client):
    await key("read", name="only")
    await until_keys_are_asked_for(http)

    await client.access.forget("only")
    deadline = asyncio.get_running_loop().time() + 2.5  # by when the gateway has read that
    while asyncio.get_running_loop().time() < deadline:
        assert (await http.get("/jobs")).status_code == 401


async def test_whoever_waits_with_a_key_that_is_revoked_meanwhile_gets_nothing(http, key, client, worker):
    release = asyncio.Event()

    async def slow() -> str:
        await release.wait()
        return "secret"

    await key("read", "enqueue", name="reader")
    reader = await key("read", "enqueue", name="waiter")
    async with worker(slow=slow):
        waiting = asyncio.create_task(http.post("/jobs?wait=20", json={"type": "slow"}, headers=reader))
        while not (await client.page(type="slow")).jobs:
            await asyncio.sleep(0)
        await client.access.revoke("waiter")
        await until(lambda: http.get("/jobs", headers=reader), 401)
        release.set()
        reply = await waiting

    assert code(reply) == (401, "access-denied")


# whose functions


async def test_a_key_enqueues_its_functions_alone_follow_ups_too(http, key, client):
    adder = await key("enqueue", functions=["ad*"])
    await until_keys_are_asked_for(http)
    job = {"type": "add", "payload": {"a": 1}}

    async def post(path, body):
        return await http.post(path, json=body, headers=adder)

    assert (await post("/jobs", job)).status_code == 202
    assert code(await post("/jobs", {"type": "echo"})) == (403, "access-forbidden")
    assert code(await post("/jobs", {"type": "nowhere"})) == (403, "access-forbidden")
    assert code(await post("/functions/echo/jobs", {})) == (403, "access-forbidden")
    assert code(await post("/jobs", job | {"then": [job | {"then": [{"type": "echo"}]}]})) == (
        403,
        "access-forbidden",
    )
    batch = await post("/jobs/batch", [job, {"type": "echo"}])
    assert [result.get("problem", {}).get("status") for result in batch.json()["results"]] == [None, 403]
    assert {found.type for found in (await client.page()).jobs} == {"add"}


async def test_a_job_of_another_function_is_not_found(http, key, client):
    other = (await client.enqueue("echo", unique="u")).id
    own = (await client.enqueue("add", {"a": 1}, delay=600)).id
    adder = await key("read", "operate", functions=["add"])
    await until_keys_are_asked_for(http)

    async def ask(method, path):
        return (await http.request(method, path, headers=adder)).status_code

    for method, path in (
        ("GET", ""),
        ("GET", "?wait=1"),
        ("GET", "/result"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/run"),
    ):
        assert await ask(method, f"/jobs/{other}{path}") == 404, path
    move = await http.patch(f"/jobs/{other}", json={"delay": 9}, headers=adder)
    stream = await http.get(f"/jobs/{other}", headers=adder | {"Accept": "text/event-stream"})
    assert (move.status_code, stream.status_code) == (404, 404)
    assert await ask("GET", "/functions/echo/unique/u") == 403
    assert (await client.get(other)).status == "pending"
    assert await ask("POST", f"/jobs/{own}/run") == 200
    assert await ask("GET", f"/jobs/{own}") == 200


async def test_lists_have_the_key_s_functions_alone(http, key, client):
    for number in range(3):
        await client.enqueue("echo", delay=number)
        await client.enqueue("add", {"a": 1}, delay=number)
    adder = await key("read", functions=["add"])
    await until_keys_are_asked_for(http)

    async def ask(path):
        return (await http.get(path, headers=adder)).json()

    assert {job["type"] for job in (await ask("/jobs"))["jobs"]} == {"add"}
    assert len((await ask("/jobs?status=scheduled"))["jobs"]) == 2
    assert [fn["name"] for fn in (await ask("/functions"))["functions"]] == ["add"]
    assert "echo" not in json.dumps(await ask("/openapi.json"))
    assert (await ask("/jobs?type=echo"))["status"] == 403
    assert (await ask("/scale/echo"))["status"] == 403
    assert (await ask("/metrics"))["status"] == 403


async def test_a_key_for_some_functions_does_not_change_what_is_of_all(http, key, client):
    adder = await key("operate", functions=["add"])
    await until_keys_are_asked_for(http)

    async def post(path):
        return (await http.post(path, headers=adder)).status_code

    assert await post("/jobs/pause") == 403
    assert await post("/lanes/low/pause") == 403
    assert await post("/functions/echo/pause") == 403
    assert await post("/functions/add/pause") == 200
    await client.pause(function="echo")
    await client.pause(lane="low")
    paused = (await http.get("/jobs/pause", headers=adder)).json()
    assert (paused["functions"], paused["lanes"]) == (["add"], ["low"])


async def test_an_alias_is_the_same_function(client, http, key):
    @function(aliases=["mail"])
    async def email() -> None: ...

    await deploy(client, email=email)
    headers = await key("enqueue", "read", functions=["email"])
    await until_keys_are_asked_for(http)

    job = (await http.post("/jobs", json={"type": "mail"}, headers=headers)).json()

    assert (await http.get(f"/jobs/{job['id']}", headers=headers)).json()["type"] == "mail"


# how often


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(http, key):
    slow = await key("read", rate="2/m")
    await until_keys_are_asked_for(http)

    replies = [await http.get("/jobs", headers=slow) for _ in range(3)]

    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert code(replies[2]) == (429, "rate-exceeded")
    assert 25 <= int(replies[2].headers["Retry-After"]) <= 30


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs/batch", [{"type": "echo"}] * 30),
        ("/jobs", {"type": "echo", "then": [{"type": "echo"}] * 29}),
        ("/jobs/batch", [{"type": "echo", "then": [{"type": "echo"}] * 2}] * 10),
    ],
)
async def test_a_request_is_let_through_whole_and_its_jobs_count(http, key, path, body):
    slow = await key("enqueue", rate="1/m")
    await until_keys_are_asked_for(http)

    first = await http.post(path, json=body, headers=slow)
    second = await http.post(path, json=body, headers=slow)

    assert first.status_code == 202
    assert second.status_code == 429
    assert 1700 < int(second.headers["Retry-After"]) <= 1800


async def test_a_job_of_a_batch_that_brings_too_many_is_refused_alone(http, key):
    headers = await key("enqueue", rate="1000/s")
    await until_keys_are_asked_for(http)
    many = {"type": "echo", "then": [{"type": "echo", "then": [{"type": "echo"}] * 100}] * 20}

    reply = await http.post("/jobs/batch", json=[{"type": "echo"}, many, {"type": "echo"}], headers=headers)

    assert [result.get("problem", {}).get("status") for result in reply.json()["results"]] == [None, 422, None]


async def test_a_thousand_streams_at_once_are_no_more_than_the_limit(settings, client, key):
    reader = await key("read", "enqueue") | {"Accept": "text/event-stream"}
    async with serving(settings.model_copy(update={"stream_limit": 3})) as http:
        asked = [http.build_request("POST", "/jobs", json={"type": "echo"}, headers=reader) for _ in range(20)]
        replies = await asyncio.gather(*(http.send(request, stream=True) for request in asked))
        for reply in replies:
            await reply.aclose()

    assert sorted({reply.status_code for reply in replies}) == [202, 429]
    assert sum(reply.status_code == 202 for reply in replies) <= 3
    assert len((await client.page()).jobs) == sum(reply.status_code == 202 for reply in replies)


async def test_a_key_has_a_bounded_number_of_streams(settings, client, key):
    reader = await key("read")
    job = await client.enqueue("echo")
    events = reader | {"Accept": "text/event-stream"}
    async with serving(settings.model_copy(update={"stream_limit": 1})) as http:
        async with http.stream("GET", f"/jobs/{job.id}", headers=events) as first:
            assert first.status_code == 200
            second = await http.get(f"/jobs/{job.id}", headers=events)
            assert code(second) == (429, "rate-exceeded")
        again = http.build_request("GET", f"/jobs/{job.id}", headers=events)
        reply = await until(lambda: http.send(again, stream=True), 200)
        await reply.aclose()


async def test_a_stream_ends_when_its_key_is_revoked(http, key, client):
    reader = await key("read", name="reader")
    job = await client.enqueue("echo", delay=600)
    async with aconnect_sse(http, "GET", f"/jobs/{job.id}", headers=reader) as source:
        events = source.aiter_sse()
        assert (await anext(events)).event == "status"
        await client.access.revoke("reader")
        await until(lambda: http.get("/jobs", headers=reader), 401)
        await client.cancel(job.id)

        assert [event async for event in events] == []


# what is on record


async def test_refusals_and_what_operators_do_are_logged_by_name(http, key):
    operator = await key("operate", name="night-shift")
    adder = await key("enqueue", functions=["add"], name="a")
    await until_keys_are_asked_for(http)

    with structlog.testing.capture_logs() as logged:
        await http.post("/jobs", json={"type": "echo"}, headers=operator)
        await http.post("/jobs/pause", headers=operator)
        await http.post("/jobs/resume", headers=operator)
        await http.get("/jobs", headers={"Authorization": "Bearer guess"})
        await http.post("/jobs/pa%0Ause" + 300 * "x" + "/retry", headers=operator)
        await http.post("/jobs/batch", json=[{"type": "echo"}], headers=adder)

    told = [(line["event"], line["key"], line.get("method"), line.get("path")) for line in logged]
    assert told == [
        ("access.refused", "night-shift", "POST", "/jobs"),
        ("operator.acted", "night-shift", "POST", "/jobs/pause"),
        ("operator.acted", "night-shift", "POST", "/jobs/resume"),
        ("access.refused", None, "GET", "/jobs"),
        ("operator.acted", "night-shift", "POST", f"/jobs/pa\nuse{188 * 'x'}"),
        ("access.refused", "a", None, None),
    ]
    assert "lw_" not in json.dumps([line for line in logged if "send Auth" not in line.get("why", "")])


async def test_a_flood_of_requests_without_a_key_does_not_flood_the_log(http, key):
    await key("read")
    await until_keys_are_asked_for(http)

    with structlog.testing.capture_logs() as logged:
        for _ in range(300):
            await http.get("/jobs")

    assert 0 < len(logged) <= 100  # 20 a second


async def test_two_keys_idempotency_keys_never_meet(http, key):
    one, other = await key("enqueue"), await key("enqueue")
    await until_keys_are_asked_for(http)

    jobs = [
        (await http.post("/jobs", json={"type": "echo"}, headers={**who, "Idempotency-Key": "same"})).json()["id"]
        for who in (one, other, one)
    ]

    assert jobs[0] == jobs[2] != jobs[1]
