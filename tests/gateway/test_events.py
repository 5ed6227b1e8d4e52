"""CloudEvents over HTTP, as the official SDK sends them, and as others do that get it wrong."""

import base64
import json

import pytest
from cloudevents.core.bindings import http as bindings
from cloudevents.core.v1.event import CloudEvent

from runtime import Event, function
from runtime.store.access import issue
from tests.conftest import deploy, until_keys_are_asked_for

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
ORDER = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.created", "data": {"order": "o1"}}


@function(on="order.*")
async def audit(payload, event: Event) -> list:
    return [payload, event.attributes]


@function(on="order.created")
async def confirm(order: str) -> str:
    return order


HANDLERS = {"audit": audit, "confirm": confirm}


def by_sdk(data={"order": "o1"}, **attributes):  # noqa: B006
    return CloudEvent({"id": "e1", "source": "/shop", "type": "order.created", **attributes}, data)


async def send(http, message, **headers):
    return await http.post("/events", content=message.body, headers={**message.headers, **headers})


def structured(**members):
    return {"content": json.dumps(ORDER | members), "headers": {"Content-Type": STRUCTURED}}


@pytest.mark.parametrize("mode", ["to_structured_event", "to_binary_event"])
async def test_the_sdks_event_reaches_every_subscriber(http, client, worker, mode):
    event = by_sdk(subject="Kö 1%", datacontenttype="application/json", traceid="t 1", dataschema="/schemas/1")

    async with worker(**HANDLERS):
        reply = await send(http, getattr(bindings, mode)(event))
        jobs = [await client.wait(job_id, 10) for job_id in reply.json()["jobs"]]

    assert (reply.status_code, reply.json()["new"]) == (202, True)
    results = {job.type: job.result for job in jobs}
    assert results["confirm"] == "o1"
    data, attributes = results["audit"]
    assert attributes.pop("time")
    assert data == {"order": "o1"}
    assert attributes == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/shop",
        "type": "order.created",
        "subject": "Kö 1%",
        "datacontenttype": "application/json",
        "dataschema": "/schemas/1",
        "traceid": "t 1",
    }


@pytest.mark.parametrize("mode", ["to_structured_event", "to_binary_event"])
@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        ("plain text", "text/plain", "plain text"),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (None, "application/json", None),
        ({"n": 1}, "application/vnd.shop+json", {"n": 1}),
    ],
)
async def test_data_of_every_kind_comes_as_it_is(http, client, worker, mode, data, kind, expected):
    event = by_sdk(data, type="order.other", datacontenttype=kind)

    async with worker(**HANDLERS):
        reply = await send(http, getattr(bindings, mode)(event))
        (job_id,) = reply.json()["jobs"]
        done = await client.wait(job_id, 10)

    assert done.result[0] == expected


async def test_the_same_event_again_is_answered_with_the_same_jobs(http, client):
    await deploy(client, **HANDLERS)

    first = await http.post("/events", **structured())
    again = await send(http, bindings.to_binary_event(by_sdk({"order": "changed"})))

    assert first.json()["jobs"] == again.json()["jobs"]
    assert (first.json()["new"], again.json()["new"]) == (True, False)


async def test_without_a_subscriber_the_list_is_empty_and_the_metric_counts(http, client):
    await deploy(client, **HANDLERS)

    reply = await http.post("/events", **structured(type="nobody.cares"))
    metrics = (await http.get("/metrics")).text

    assert (reply.status_code, reply.json()) == (202, {"id": "e1", "source": "/shop", "jobs": [], "new": True})
    (counted,) = [line for line in metrics.splitlines() if 'published_total{outcome="unclaimed"}' in line]
    assert float(counted.split()[-1]) >= 1


async def test_a_batch_is_answered_event_by_event(http, client):
    await deploy(client, **HANDLERS)
    events = [ORDER, ORDER | {"id": "e2", "time": "soon"}, "no event", ORDER | {"id": "e3", "type": "x"}]

    reply = await http.post("/events", content=json.dumps(events), headers={"Content-Type": BATCHED})

    body = reply.json()
    assert (reply.status_code, body["published"], body["refused"]) == (207, 2, 2)
    first, second, third, fourth = body["results"]
    assert (len(first["jobs"]), fourth["jobs"]) == (2, [])
    assert second["problem"]["errors"][0]["field"] == "/time"
    assert third["problem"]["type"] == "/problems/event-invalid"


async def test_a_batch_without_a_fault_is_accepted(http, client):
    await deploy(client, **HANDLERS)

    reply = await http.post("/events", content=json.dumps([ORDER] * 3), headers={"Content-Type": BATCHED})
    none = await http.post("/events", content="[]", headers={"Content-Type": BATCHED})

    assert reply.status_code == none.status_code == 202
    assert len({job for result in reply.json()["results"] for job in result["jobs"]}) == 2
    assert none.json() == {"published": 0, "refused": 0, "results": []}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"id": None}, "/id"),
        ({"specversion": None}, "/specversion"),
        ({"specversion": "0.3"}, "/specversion"),
        ({"data_base64": "AA=="}, "/data_base64"),
        ({"data": None, "data_base64": "not base64"}, "/data_base64"),
        ({"data": None, "data_base64": 5}, "/data_base64"),
        ({"Wrong-Name": "x"}, "/Wrong-Name"),
        ({"nested": {"a": 1}}, "/nested"),
    ],
)
async def test_an_event_that_is_none_names_what_is_wrong(http, client, members, field):
    await deploy(client, **HANDLERS)

    reply = await http.post("/events", **structured(**members))

    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (422, "/problems/event-invalid")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await client.page()).jobs == []


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "application/json"}, "{}", 415, "not-an-event"),
        ({}, "", 415, "not-an-event"),
        ({"Content-Type": STRUCTURED}, "{", 400, "bad-json"),
        ({"Content-Type": STRUCTURED}, "[]", 422, "event-invalid"),
        ({"Content-Type": BATCHED}, "{}", 422, "batch-invalid"),
        ({"Content-Type": BATCHED}, json.dumps([1] * 1001), 422, "batch-invalid"),
        ({"ce-id": "1"}, "", 422, "event-invalid"),
        (
            {"ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-specversion": "1.0", "Content-Type": "a/json"},
            "{",
            400,
            "bad-json",
        ),
        (
            {"ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-specversion": "1.0", "Content-Type": "text/plain"},
            b"\xff",
            400,
            "bad-json",
        ),
        ({"Content-Type": STRUCTURED}, json.dumps(ORDER | {"data": "x" * 20_001}), 413, "too-large"),
    ],
)
async def test_a_request_that_is_none_says_what_to_send(http, headers, body, status, code):
    reply = await http.post("/events", content=body, headers=headers)

    assert (reply.status_code, reply.json()["type"]) == (status, f"/problems/{code}")


BINARY = {"ce-id": "1", "ce-source": "/", "ce-type": "order.x", "ce-specversion": "1.0"}


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"Z%C3%BC 1", "Zü 1"),
        ("Zü".encode(), "Zü"),
        (b'"quoted \\"text\\""', 'quoted "text"'),
        (b'"', '"'),
        (b"%22", '"'),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        ("Zü".encode("latin-1"), "Zü"),
    ],
)
async def test_a_header_is_unquoted_and_decoded(http, client, header, subject):
    await deploy(client, **HANDLERS)

    reply = await http.post("/events", headers=[*BINARY.items(), (b"ce-subject", header)])

    assert (await client.get(reply.json()["jobs"][0])).event["subject"] == subject


@pytest.mark.parametrize(
    "headers",
    [
        [("ce-subject", "a"), ("ce-subject", "b")],
        [("ce-subject", "%0A")],
    ],
)
async def test_a_header_that_cannot_be_is_named(http, client, headers):
    await deploy(client, **HANDLERS)

    reply = await http.post("/events", headers=[*BINARY.items(), *headers])

    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "/subject")


async def test_text_comes_by_its_charset_and_other_formats_are_refused(http, client):
    await deploy(client, **HANDLERS)
    kinds = ["text/plain; charset=iso-8859-1", "text/plain; charset=nonsense", "application/cloudevents+xml"]

    latin, unknown, xml = [
        await http.post("/events", content=b"\xe9", headers={**BINARY, "Content-Type": kind}) for kind in kinds
    ]

    assert (await client.get(latin.json()["jobs"][0])).payload == "é"
    assert (unknown.status_code, xml.status_code) == (400, 415)


async def test_a_key_publishes_to_its_own_functions(http, client):
    await deploy(client, **HANDLERS)
    headers = {}
    for name, scope, functions in (("own", "enqueue", ["confirm"]), ("reader", "read", [])):
        made, token = issue(name, [scope], functions=functions)
        assert await client.access.add(made)
        headers[name] = {"Authorization": f"Bearer {token}", "Content-Type": STRUCTURED}
    await until_keys_are_asked_for(http)

    none = await http.post("/events", **structured())
    wrong = await http.post("/events", content=json.dumps(ORDER), headers=headers["reader"])
    right = await http.post("/events", content=json.dumps(ORDER), headers=headers["own"])

    assert (none.status_code, wrong.status_code, right.status_code) == (401, 403, 202)
    (job_id,) = right.json()["jobs"]
    assert (await client.get(job_id)).type == "confirm"


async def test_bytes_of_a_structured_event_are_shown_as_base64(http, client):
    await deploy(client, **HANDLERS)

    sent = await http.post("/events", **structured(type="order.x", data=None, data_base64="AP8="))
    job = (await http.get(f"/jobs/{sent.json()['jobs'][0]}")).json()

    assert base64.b64decode(job["payload"]["$base64"]) == b"\x00\xff"
    assert job["event"]["type"] == "order.x"


async def test_functions_show_what_they_subscribe_to(http, client):
    await deploy(client, **HANDLERS)

    shown = (await http.get("/functions/audit")).json()

    assert (shown["on"], shown["where"]) == (["order.*"], {})
