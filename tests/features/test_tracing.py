"""A job belongs to the trace of what stored it; its attempts are spans of OpenTelemetry where that is set up."""

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest
import structlog
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from standardwebhooks import Webhook

from runtime import Context, Hook, Permanent, RetryLater, StandardWebhook, function, log, tracing
from runtime.errors import SettingsInvalid
from runtime.jobs.request import JobRequest
from runtime.store.access import issue
from runtime.tracing import Trace, parse
from tests.conftest import deploy, until_keys_are_asked_for

WAIT = 20
ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{ID}-{SPAN}-01"


async def headers(ctx: Context) -> dict:
    return ctx.job.trace


async def post(http, type, **members):
    given = {"traceparent": PARENT, "tracestate": "shop=1"}
    return (await http.post("/jobs", json={"type": type, **members}, headers=given)).json()["id"]


async def test_the_trace_of_the_request_comes_to_the_handler(http, client, worker):
    async with worker(headers=headers):
        job = await client.wait(await post(http, "headers"), WAIT)
        plain = await client.wait(await client.enqueue("headers"), WAIT)

    assert job.result == {"traceparent": PARENT, "tracestate": "shop=1"}
    assert (job.to_json()["trace_id"], plain.trace_id, plain.result) == (ID, None, {})


async def test_the_same_in_a_process(http, client, worker, folder, settings):
    folder.write(headers="from runtime import Context\ndef handle(ctx: Context): return ctx.job.trace")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        job = await client.wait(await post(http, "headers"), WAIT)

    assert job.result["traceparent"] == PARENT


async def test_what_a_job_starts_belongs_to_its_trace(http, client, worker):
    async def parent(ctx: Context) -> None:
        ctx.enqueue("headers")
        ctx.publish("nobody")

    async with worker(parent=parent, headers=headers):
        job = await client.wait(await post(http, "parent", then=[{"type": "headers"}]), WAIT)
        children = [await client.wait(child, WAIT) for child in job.children]

    assert [child.result["traceparent"] for child in children] == [PARENT, PARENT]


async def test_every_way_to_enqueue_carries_it(http, client):
    await deploy(client, headers=headers)
    given = {"traceparent": PARENT}

    await http.post("/jobs/batch", json=[{"type": "headers"}], headers=given)
    await http.post("/functions/headers/jobs", headers=given)
    await http.post("/jobs", json={"type": "headers", "delay": "1h"}, headers=given)
    await http.post("/jobs", json={"type": "headers"})

    assert sorted(str(job.trace_id) for job in (await client.page()).jobs) == [ID, ID, ID, "None"]


async def test_log_lines_of_the_attempt_name_the_trace(http, client, worker, settings, capfd):
    async def says(ctx: Context) -> None:
        ctx.log.info("said")
        raise Permanent("no")

    before = structlog.get_config()
    log.configure(settings.model_copy(update={"log_format": "json"}))
    try:
        async with worker(says=says):
            job = await client.wait(await post(http, "says"), WAIT)
        kept = await client.log(job.id)
    finally:
        structlog.configure(**before)

    lines = [line for line in capfd.readouterr().err.splitlines() if job.id in line]
    assert ["said" in line for line in lines] == [True, False]
    assert all(f'"trace_id": "{ID}"' in line for line in lines)
    assert kept[0]["fields"] == {}


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        (PARENT, Trace(PARENT)),
        (f" {PARENT} ", Trace(PARENT)),
        (f"cc-{ID}-{SPAN}-01-what-comes-later", Trace(PARENT)),
        (f"00-{ID}-{SPAN}-01-more", None),
        (f"ff-{ID}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{ID}-{'0' * 16}-01", None),
        (PARENT.upper(), None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(header, parsed):
    assert parse(header) == parsed


@pytest.mark.parametrize("state", ["", "a=1\n", "x" * 600, "\xe9=1"])
def test_an_odd_tracestate_is_left_out(state):
    assert parse(PARENT, state) == Trace(PARENT)


async def test_a_request_with_an_odd_header_is_served(http, client):
    await deploy(client, headers=headers)

    reply = await http.post("/jobs", json={"type": "headers"}, headers=[(b"traceparent", b"\xff\xfe")])

    assert (reply.status_code, reply.json()["trace_id"]) == (202, None)


async def pipelined(http, *requests):
    """Sends requests at once on one connection; returns the bodies of the replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    for head, body in requests:
        writer.write(f"{head}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    bodies = []
    async with asyncio.timeout(WAIT):
        for _ in requests:
            reply = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(reply.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            bodies.append(json.loads(await reader.readexactly(length)))
    writer.close()
    return bodies


async def test_a_later_request_of_the_connection_does_not_inherit_it(http, client):
    await deploy(client, headers=headers)
    post = "POST /jobs HTTP/1.1\r\nContent-Type: application/json"
    body = b'{"type": "headers"}'
    large = b'{"type": "headers", "payload": null, "tags": "' + b" " * 15_000 + b'a:b"}'

    first, second = await pipelined(http, (f"{post}\r\ntraceparent: {PARENT}", body), (post, body))
    third, fourth = await pipelined(http, (f"{post}\r\ntraceparent: {PARENT}", large), (post, body))

    assert (first["trace_id"], second["trace_id"]) == (ID, None)
    assert (third["trace_id"], fourth["trace_id"]) == (ID, None)


async def test_a_later_request_of_the_connection_does_not_inherit_an_access_key(http, client, monkeypatch):
    @function(hook=StandardWebhook(secret="env:SHOP_SECRET"))
    async def shop(hook: Hook) -> None: ...

    secret = "whsec_" + base64.b64encode(b"s" * 32).decode()
    monkeypatch.setenv("SHOP_SECRET", secret)
    await deploy(client, headers=headers, shop=shop)
    made, token = issue("own", ["enqueue"], functions=["headers"])
    assert await client.access.add(made)
    await until_keys_are_asked_for(http)
    at, body = datetime.now(UTC), b"{}"
    signed = f"webhook-id: m1\r\nwebhook-timestamp: {int(at.timestamp())}"
    signed += f"\r\nwebhook-signature: {Webhook(secret).sign('m1', at, '{}')}"
    post = f"POST /jobs HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}"

    _, hooked = await pipelined(
        http, (post, b'{"type": "headers"}'), (f"POST /hooks/shop HTTP/1.1\r\n{signed}", body)
    )

    assert "id" in hooked


# spans


@pytest.fixture
def spans(monkeypatch):
    """The finished spans, by name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(tracing._Setup, "is_there", True)
    monkeypatch.setattr(tracing._Setup, "look_again", float("inf"))

    def finished(name):
        return [span for span in exporter.get_finished_spans() if span.name == name]

    yield finished
    provider.shutdown()


async def test_the_first_attempt_is_a_child_of_what_stored_the_job_and_later_ones_are_linked(
    http, client, worker, spans
):
    async def twice(ctx: Context) -> dict:
        if ctx.job.attempt == 1:
            raise RetryLater(0)
        return ctx.job.trace

    async with worker(twice=twice):
        job = await client.wait(await post(http, "twice"), WAIT)
        async with asyncio.timeout(WAIT):
            while len(spans("process twice")) < 2:
                await asyncio.sleep(0.01)

    (sent,) = spans("send twice")
    first, second = spans("process twice")
    assert (f"{sent.context.trace_id:032x}", f"{sent.parent.span_id:016x}") == (ID, SPAN)
    assert sent.kind is otel.SpanKind.PRODUCER
    assert first.kind is otel.SpanKind.CONSUMER
    assert first.parent.span_id == sent.context.span_id
    assert second.parent is None
    assert [link.context.span_id for link in second.links] == [sent.context.span_id]
    assert (first.attributes["lanework.outcome"], second.attributes["lanework.outcome"]) == ("retry", "completed")
    assert (first.status.status_code, second.status.status_code) == (otel.StatusCode.ERROR, otel.StatusCode.UNSET)
    assert first.attributes["messaging.message.id"] == job.id
    assert job.result["traceparent"][:52] == f"00-{second.context.trace_id:032x}-{second.context.span_id:016x}"


async def test_a_span_that_is_open_is_the_parent(client, worker, spans):
    async with worker(headers=headers):
        with otel.get_tracer("shop").start_as_current_span("checkout") as span:
            job = await client.enqueue("headers")
        await client.wait(job, WAIT)

    (sent,), (ran,) = spans("send headers"), spans("process headers")
    assert sent.parent.span_id == span.get_span_context().span_id
    assert ran.context.trace_id == span.get_span_context().trace_id


async def test_what_a_handler_opens_and_starts_is_below_its_attempt(client, worker, spans):
    async def parent(ctx: Context) -> None:
        with otel.get_tracer("shop").start_as_current_span("step"):
            ctx.enqueue("headers")

    async with worker(parent=parent, headers=headers):
        job = await client.wait(await client.enqueue("parent"), WAIT)
        await client.wait(job.children[0], WAIT)

    (ran,), (step,), (child,) = spans("process parent"), spans("step"), spans("process headers")
    assert step.parent.span_id == ran.context.span_id
    assert child.parent.span_id == ran.context.span_id


async def test_without_a_trace_around_it_a_job_has_one_of_its_own(client, worker, spans):
    async with worker(headers=headers):
        job = await client.wait(await client.enqueue("headers"), WAIT)
        many = await client.enqueue_many("headers", [None, None])
        for job_id in many:
            await client.wait(job_id, WAIT)
        await client.submit_many([JobRequest("headers")])

    assert job.trace_id is not None
    single, batch = spans("send headers")
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert len(spans("send jobs")) == 1
    assert single.parent is None


def test_a_collector_without_the_extra_is_told_at_the_start(monkeypatch):
    import sys

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(SettingsInvalid, match=r"lanework\[otel\]"):
        tracing.send_spans()


async def test_spans_reach_a_collector(client, start, monkeypatch):
    got = asyncio.Queue()

    async def collect(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        got.put_nowait((head.split(b"\r\n")[0], await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(collect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    one = start({"add": "async def handle(): return 1"})
    await asyncio.to_thread(one.await_said, "worker.started")
    await client.wait(await client.enqueue("add"), WAIT)

    line, body = await asyncio.wait_for(got.get(), WAIT)
    server.close()

    assert line == b"POST /v1/traces HTTP/1.1"
    assert b"process add" in body
    assert b"lanework" in body
