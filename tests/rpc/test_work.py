"""A remote worker, as the protocol has it: what goes over its stream, and what becomes of its attempts."""

import asyncio
import json
import time
from typing import Any

import grpc
import pytest

from runtime import tracing
from runtime.rpc.generated.lanework.v1 import jobs_pb2, worker_pb2
from runtime.rpc.generated.lanework.v1.worker_pb2 import (
    CANCEL_REASON_CANCELLED,
    CANCEL_REASON_RELEASED,
    CANCEL_REASON_TIMEOUT,
    Completed,
    Failed,
    Hello,
    Leave,
    Line,
    Output,
    RemoteFunction,
    Renew,
    Stopped,
    WorkRequest,
)
from tests.rpc.conftest import grpc_serving
from tests.rpc.test_jobs import drained, refused

WAIT = 15
UNKNOWN: Any = 9  # a number that no encoding has


class Stream:
    """A worker's end of a stream."""

    def __init__(self, call):
        self.call = call

    async def hello(self, *functions, name="far", slots=2):
        functions = functions or (RemoteFunction(name="echo"),)
        await self.send(hello=Hello(name=name, slots=slots, functions=functions))
        return (await self.read("welcome")).welcome

    async def send(self, attempt=None, **message):
        about = {} if attempt is None else {"job_id": attempt.job_id, "attempt": attempt.attempt}
        await self.call.write(WorkRequest(**about, **message))

    async def read(self, kind):
        """The next message, which is of this kind."""
        async with asyncio.timeout(WAIT):
            message = await self.call.read()
        assert message != grpc.aio.EOF, "the stream has ended"
        assert message.WhichOneof("message") == kind
        return message

    async def attempt(self):
        return (await self.read("attempt")).attempt

    async def complete(self, attempt, result=b"null", encoding=jobs_pb2.ENCODING_JSON):
        await self.send(attempt, completed=Completed(result=result, result_encoding=encoding))

    async def ended(self):
        """How the gateway has ended it."""
        async with asyncio.timeout(WAIT):
            await drained(self.call)
            return await self.call.code()


@pytest.fixture
def stream(served):
    """`stream()` opens one."""
    opened = []

    def make(where=None, **options):
        opened.append(Stream((where or served).work(timeout=60, **options)))
        return opened[-1]

    yield make
    for one in opened:
        one.call.cancel()


async def settled(client, job):
    return await client.wait(job.id, WAIT)


# from a hello to a result


async def test_a_worker_takes_an_attempt_and_completes_it(stream, client):
    far = stream()
    welcome = await far.hello()

    job = await client.enqueue("echo", {"a": 1})
    attempt = await far.attempt()
    await far.complete(attempt, b'{"b": [2]}')

    done = await settled(client, job)
    assert (attempt.job_id, attempt.attempt, attempt.type, attempt.tries) == (job.id, 1, "echo", 1)
    assert (attempt.payload, attempt.payload_encoding) == (b'{"a":1}', jobs_pb2.ENCODING_JSON)
    assert (attempt.timeout_ms, attempt.lane, attempt.max_attempts) == (300_000, "normal", 3)
    assert (done.status, done.result) == ("completed", {"b": [2]})
    assert welcome.worker_id.startswith("far-")
    assert done.attempts[0]["worker"] == welcome.worker_id


async def test_it_is_welcome_once_its_functions_are_known_with_their_contracts(stream, client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    options = {"timeout": "30s", "retry": 5, "lane": "high", "concurrency": 2, "aliases": ["e"], "on": ["order.*"]}
    announced = RemoteFunction(
        name="echo", doc="Say it again.", schema=json.dumps(schema), options=json.dumps(options), version="v1.2"
    )
    welcome = await stream().hello(announced, slots=7)

    deployed = await client.functions()
    (worker,) = await client.workers()

    echo = deployed["echo"]
    assert (echo.doc, echo.schema, echo.isolation, echo.version) == ("Say it again.", schema, "remote", "v1.2")
    assert (echo.timeout, echo.max_attempts, echo.lane, echo.concurrency) == (30, 5, "high", 2)
    assert (deployed["e"].serves, echo.on) == ("echo", ["order.*"])
    assert (worker.id, worker.concurrency, worker.functions) == (
        welcome.worker_id,
        7,
        {"e": "v1.2", "echo": "v1.2"},
    )


@pytest.mark.parametrize("payload", [None, [1], "text", b"\x00\xff", 2**60, {"b": b"x"}])
async def test_any_payload_arrives(stream, client, payload):
    far = stream()
    await far.hello()

    job = await client.enqueue("echo", payload)
    attempt = await far.attempt()
    await far.complete(attempt, attempt.payload, attempt.payload_encoding)

    shown = {"b": {"$base64": "eA=="}} if payload == {"b": b"x"} else payload
    assert (await settled(client, job)).result == shown


async def test_it_gets_no_more_than_it_has_slots_for(stream, client):
    far = stream()
    await far.hello(slots=2)
    ids = await client.enqueue_many("echo", [{"n": n} for n in range(5)])

    running = [await far.attempt(), await far.attempt()]
    for _ in range(3):
        await far.complete(running.pop(0))
        running.append(await far.attempt())
    for attempt in running:
        await far.complete(attempt)

    assert [(await client.wait(job, WAIT)).status for job in ids] == ["completed"] * 5


async def test_several_workers_share_the_work(stream, client):
    one, two = stream(), stream()
    await one.hello(name="one", slots=1)
    await two.hello(name="two", slots=1)

    jobs = [await client.enqueue("echo", {}), await client.enqueue("echo", {})]
    for far in (one, two):
        await far.complete(await far.attempt())

    workers = {(await settled(client, job)).attempts[0]["worker"].partition("-")[0] for job in jobs}
    assert workers == {"one", "two"}


# what it tells meanwhile


async def test_progress_output_and_lines_are_those_of_any_function(stream, client, logged):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()

    await far.send(attempt, progress=jobs_pb2.Progress(done=1, total=4, note="a quarter"))
    await far.send(attempt, output=Output(value=b'{"x": 1}', encoding=jobs_pb2.ENCODING_JSON))
    await far.send(attempt, output=Output(value=b"raw", encoding=jobs_pb2.ENCODING_BYTES))
    await far.send(attempt, line=Line(level="warning", event="careful", fields='{"why": "hot", "job": "mine"}'))
    await far.complete(attempt)

    done = await settled(client, job)
    assert done.progress == {"done": 1, "total": 4, "note": "a quarter"}
    assert (await client.output(job.id)).chunks == [{"x": 1}, b"raw"]
    (line,) = await client.log(job.id)
    assert (line["level"], line["event"], line["fields"]["why"]) == ("warning", "careful", "hot")


@pytest.mark.parametrize(
    "odd",
    [
        {"progress": jobs_pb2.Progress(done=float("nan"))},
        {"progress": jobs_pb2.Progress(done=1, total=float("inf"))},
        {"output": Output(value=b"not json", encoding=jobs_pb2.ENCODING_JSON)},
        {"output": Output(value=b"x" * (300 << 10), encoding=jobs_pb2.ENCODING_BYTES)},
        {"output": Output(value=b"x", encoding=UNKNOWN)},
        {"line": Line(level="info", event="e", fields="not json")},
        {"line": Line(level="info", event="e", fields="[1]")},
        {"line": Line(level="info", event="e", fields='{"x": "' + "y" * 20_000 + '"}')},
    ],
)
async def test_an_odd_report_is_told_in_the_jobs_log_and_harms_nothing(stream, client, logged, odd):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()

    await far.send(attempt, **odd)
    await far.complete(attempt)

    assert (await settled(client, job)).status == "completed"
    (line,) = await client.log(job.id)
    assert (line["event"], line["fields"]["report"]) == ("report.refused", next(iter(odd)))


async def test_what_a_failure_says_is_bounded(stream, client):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options='{"retry": 1}'))
    job = await client.enqueue("echo", {})

    await far.send(await far.attempt(), failed=Failed(type="T" * 10**6, message="m" * 10**6, traceback="t" * 10**6))

    error = (await settled(client, job)).error
    assert [len(error[name]) for name in ("type", "message", "traceback")] == [200, 2000, 4000]


async def test_what_is_said_of_an_attempt_that_it_does_not_have_changes_nothing(stream, client):
    far, other = stream(), stream()
    await far.hello(slots=1)
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()
    await other.hello(name="other")

    await other.complete(attempt, b'"stolen"')
    await far.send(worker_pb2.Attempt(job_id=job.id, attempt=7), completed=Completed(result=b'"wrong"'))
    await far.send(worker_pb2.Attempt(job_id="nonsense", attempt=1), stopped=Stopped())
    await far.complete(attempt, b'"mine"')
    await far.complete(attempt, b'"twice"')

    assert (await settled(client, job)).result == "mine"


# how attempts end


async def test_a_failure_is_told_and_tried_again(stream, client):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options='{"retry": {"max_attempts": 2, "base": 0}}'))
    job = await client.enqueue("echo", {})

    for message in ("first", "second"):
        attempt = await far.attempt()
        await far.send(attempt, failed=Failed(type="SmtpError", message=message, traceback="at line 3"))

    done = await settled(client, job)
    assert (done.status, done.attempt) == ("failed", 2)
    assert done.error == {"type": "SmtpError", "message": "second", "traceback": "at line 3"}


@pytest.mark.parametrize(
    ("failed", "options"),
    [
        (Failed(type="E", message="m", permanent=True), ""),
        (Failed(type="Hopeless", message="m"), '{"retry": {"no_retry_on": ["Hopeless"]}}'),
        (Failed(type="E", message="m"), '{"retry": {"retry_on": ["TimeoutError"]}}'),
    ],
)
async def test_a_failure_that_no_attempt_can_help_ends_the_job(stream, client, failed, options):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options=options))
    job = await client.enqueue("echo", {})

    await far.send(await far.attempt(), failed=failed)

    assert ((await settled(client, job)).status, (await settled(client, job)).attempt) == ("failed", 1)


async def test_a_worker_says_when_to_try_again(stream, client):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})

    await far.send(await far.attempt(), failed=Failed(type="Busy", message="later", retry_after_ms=60_000))

    async for event in client.watch(job.id):
        if event.status == "scheduled":
            break
    waiting = await client.get(job.id)
    assert 50_000 < waiting.run_at - waiting.updated_at <= 60_000


@pytest.mark.parametrize(
    ("completed", "why"),
    [
        (Completed(result=b"{", result_encoding=jobs_pb2.ENCODING_JSON), "ResultInvalid"),
        (Completed(result=b"1", result_encoding=UNKNOWN), "ResultInvalid"),
        (Completed(result=b"x" * (2 << 20), result_encoding=jobs_pb2.ENCODING_BYTES), "ResultTooLarge"),
    ],
)
async def test_a_result_that_cannot_be_kept_fails_the_job(stream, client, completed, why):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})

    await far.send(await far.attempt(), completed=completed)

    done = await settled(client, job)
    assert (done.status, done.error["type"]) == ("failed", why)


async def test_a_cancelled_job_is_told_to_its_worker(stream, client):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()

    await client.cancel(job.id)
    cancel = (await far.read("cancel")).cancel
    await far.send(attempt, stopped=Stopped())

    done = await settled(client, job)
    assert (cancel.job_id, cancel.attempt, cancel.reason) == (job.id, 1, CANCEL_REASON_CANCELLED)
    assert done.status == "cancelled"


async def test_an_attempt_that_takes_too_long_is_timed_out_and_keeps_its_slot_until_it_has_stopped(stream, client):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options='{"timeout": 0.2, "retry": 1}'), slots=1)
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()

    cancel = (await far.read("cancel")).cancel
    done = await settled(client, job)  # although the worker has said nothing
    following = await client.enqueue("echo", {})
    await far.send(renew=Renew())
    assert (await client.get(following.id)).status == "pending"
    await far.send(attempt, stopped=Stopped())
    await far.complete(await far.attempt(), b'"free"')

    assert cancel.reason == CANCEL_REASON_TIMEOUT
    assert (done.status, done.error["type"]) == ("failed", "Timeout")
    assert (await settled(client, following)).result == "free"


async def test_a_worker_that_stops_by_itself_has_failed(stream, client):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options='{"retry": 1}'))
    job = await client.enqueue("echo", {})

    await far.send(await far.attempt(), stopped=Stopped())

    done = await settled(client, job)
    assert (done.status, done.error["type"]) == ("failed", "Stopped")


# lost, and leaving


async def test_attempts_of_a_broken_stream_go_to_another_worker_at_once_with_the_cause(stream, client):
    far, other = stream(), stream()
    await far.hello(slots=1)
    job = await client.enqueue("echo", {})
    await far.attempt()
    await other.hello(name="other", slots=1)

    far.call.cancel()
    again = await other.attempt()
    await other.complete(again)

    done = await settled(client, job)
    lost, completed = done.attempts
    assert (again.job_id, again.attempt, again.tries) == (job.id, 2, 1)
    assert (lost["outcome"], lost["error"]["type"], completed["outcome"]) == ("lost", "RemoteLost", "completed")
    assert "its stream broke" in lost["error"]["message"]


async def test_a_job_that_breaks_three_streams_is_poison(stream, client, settings):
    job = None
    for _ in range(3):
        far = stream()
        await far.hello(slots=1)
        job = job or await client.enqueue("echo", {})
        await far.attempt()
        far.call.cancel()

    assert (await settled(client, job)).status == "failed"


async def test_a_silent_worker_is_lost(settings, client, stream):
    async with grpc_serving(settings.model_copy(update={"lease": 0.4, "grace": 1.0})) as served:
        far = stream(served)
        welcome = await far.hello()
        job = await client.enqueue("echo", {})
        await far.attempt()

        error, _ = await refused(drained(far.call))

    assert welcome.lease_ms == 400
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "nothing was heard of the worker" in error.details()
    assert (await client.get(job.id)).attempts[0]["outcome"] == "lost"


async def test_a_silent_worker_is_lost_before_its_welcome_too(settings, stream):
    away = {"redis_url": "redis://127.0.0.1:1/0", "lease": 0.4, "grace": 0.1}
    async with grpc_serving(settings.model_copy(update=away)) as served:
        far = stream(served)
        await far.send(hello=Hello(name="far", slots=1, functions=[RemoteFunction(name="echo")]))

        error, _ = await refused(drained(far.call))

    assert error.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_worker_that_renews_may_take_its_time(settings, client, stream):
    async with grpc_serving(settings.model_copy(update={"lease": 0.4, "grace": 1.0})) as served:
        far = stream(served)
        await far.hello()
        job = await client.enqueue("echo", {})
        attempt = await far.attempt()
        over = time.monotonic() + 1.2
        while time.monotonic() < over:
            await far.send(renew=Renew())
            assert (await client.get(job.id)).status == "running"
        await far.complete(attempt)

        assert (await settled(client, job)).attempt == 1


async def test_a_worker_leaves_when_what_it_runs_has_ended(stream, client):
    far = stream()
    await far.hello(slots=1)
    job = await client.enqueue("echo", {})
    attempt = await far.attempt()

    await far.send(leave=Leave())
    waiting = await client.enqueue("echo", {})
    await far.complete(attempt, b'"last"')

    assert await far.ended() == grpc.StatusCode.OK
    assert (await client.get(job.id)).result == "last"
    assert (await client.get(waiting.id)).status == "pending"
    assert await client.workers() == []


async def test_what_a_leaving_worker_does_not_end_in_time_is_handed_back_and_does_not_count(
    settings, client, stream
):
    async with grpc_serving(settings.model_copy(update={"grace": 0.2})) as served:
        far = stream(served)
        await far.hello()
        job = await client.enqueue("echo", {})
        attempt = await far.attempt()
        await far.send(leave=Leave())
        cancel = (await far.read("cancel")).cancel
        await far.send(attempt, stopped=Stopped())

        assert await far.ended() == grpc.StatusCode.OK

    assert cancel.reason == CANCEL_REASON_RELEASED
    back = await client.get(job.id)
    assert (back.status, back.attempts[0]["outcome"]) == ("pending", "released")


async def test_a_gateway_that_leaves_takes_the_ends_of_what_runs(settings, client, stream):
    async with grpc_serving(settings.model_copy(update={"grace": 10.0})) as served:
        far = stream(served)
        await far.hello()
        job = await client.enqueue("echo", {})
        attempt = await far.attempt()
        served.port.leave()
        await far.read("leaving")
        error, _ = await refused(served.work().read())
        await far.complete(attempt, b'"in time"')

        assert await far.ended() == grpc.StatusCode.OK
        assert error.code() == grpc.StatusCode.UNAVAILABLE

    assert (await client.get(job.id)).result == "in time"


async def test_a_worker_that_ends_its_side_without_leaving_is_lost(stream, client):
    far = stream()
    await far.hello()
    job = await client.enqueue("echo", {})
    await far.attempt()

    await far.call.done_writing()
    error, _ = await refused(drained(far.call))

    assert "before the worker had left" in error.details()
    async for event in client.watch(job.id):
        if event.status == "pending":
            break
    assert (await client.get(job.id)).attempts[0]["outcome"] == "lost"


async def test_a_worker_whose_key_is_revoked_is_lost(settings, client, stream, key):
    asking = settings.model_copy(update={"lease": 6.0, "grace": 1.0, "require_keys": True})
    async with grpc_serving(asking) as served:  # which looks at keys four times a lease
        far = stream(served, metadata=await key("work"))
        await far.hello()

        await client.access.revoke("k0")
        error, _ = await refused(drained(far.call))

    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


# what a worker may say of itself


OPTIONS = "hello.functions[0].options"


def _many_aliases():
    return json.dumps({"aliases": [f"a{n}" for n in range(100)]})


def _deep_schedule():
    return '{"schedule": {"0 0 1 1 *": ' + "[" * 250 + "]" * 250 + "}}"


def _doubling():
    """A schema of 2 KB that a payload is held against a million times."""
    definitions = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(20)}
    return json.dumps({"$defs": {**definitions, "d20": {"type": "integer"}}, "$ref": "#/$defs/d0"})


@pytest.mark.parametrize(
    ("hello", "field"),
    [
        ({"name": ""}, "hello.name"),
        ({"name": "A b"}, "hello.name"),
        ({"slots": 0}, "hello.slots"),
        ({"slots": 1001}, "hello.slots"),
        ({"functions": []}, "hello.functions"),
        ({"functions": [RemoteFunction(name="No")]}, "hello.functions[0].name"),
        ({"functions": [RemoteFunction(name="job_callback")]}, "hello.functions[0].name"),
        ({"functions": [RemoteFunction(name="a"), RemoteFunction(name="a")]}, "hello.functions[1]"),
        ({"functions": [RemoteFunction(name="a", version="1,b=2")]}, "hello.functions[0].version"),
        ({"functions": [RemoteFunction(name="a", schema="{")]}, "hello.functions[0].schema"),
        ({"functions": [RemoteFunction(name="a", schema="[]")]}, "hello.functions[0].schema"),
        ({"functions": [RemoteFunction(name="a", schema='{"type": "moon"}')]}, "hello.functions[0].schema"),
        ({"functions": [RemoteFunction(name="a", schema='{"$ref": "http://x/y"}')]}, "hello.functions[0].schema"),
        (
            {"functions": [RemoteFunction(name="a", schema='{"x":"' + "y" * (64 << 10) + '"}')]},
            "hello.functions[0].schema",
        ),
        ({"functions": [RemoteFunction(name="a", returns="1")]}, "hello.functions[0].returns"),
        ({"functions": [RemoteFunction(name="a", options='{"timout": 5}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"timeout": "moon"}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"timeout": []}')]}, "hello.functions[0].options"),
        (
            {"functions": [RemoteFunction(name="a", options='{"retry": {"tries": 1}}')]},
            "hello.functions[0].options",
        ),
        ({"functions": [RemoteFunction(name="a", options='{"memory": "64M"}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"aliases": "bcd"}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"schedule": "moon"}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"on_success": 5}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"concurrency": 1.5}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"concurrency": true}')]}, "hello.functions[0].options"),
        ({"functions": [RemoteFunction(name="a", options='{"concurrency": 1180591620717411303424}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"retry": true}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"retry": 1000000}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"retry": {"max_attempts": 2.5}}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"unique": 5}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"lane": {"a": 1}}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"concurrency": 1, "concurrency_key": {}}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options='{"timeout": 1e30}')]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options=_many_aliases())]}, OPTIONS),
        ({"functions": [RemoteFunction(name="a", options=_deep_schedule())]}, "hello.functions[0]"),
        ({"functions": [RemoteFunction(name="a", schema=_doubling())]}, "hello.functions[0].schema"),
    ],
)
async def test_a_hello_that_cannot_be_is_refused_and_reaches_nobody(stream, client, hello, field):
    far = stream()
    given = {"name": "far", "slots": 1, "functions": [RemoteFunction(name="echo")], **hello}

    await far.send(hello=Hello(**given))
    error, details = await refused(far.call.read())

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert [violation.field for violation in details["BadRequest"].field_violations] == [field]
    assert await client.functions() == {}


async def test_a_schema_that_contains_itself_is_taken(stream, client):
    tree = {"$defs": {"t": {"type": "object", "properties": {"kids": {"items": {"$ref": "#/$defs/t"}}}}}}
    await stream().hello(RemoteFunction(name="tree", schema=json.dumps({**tree, "$ref": "#/$defs/t"})))

    assert (await client.enqueue("tree", {"kids": [{"kids": []}]})).status == "pending"


async def test_a_hello_that_comes_once_the_gateway_leaves_is_refused(served, stream):
    far = stream()
    await far.call.wait_for_connection()
    served.port.leave()

    await far.send(hello=Hello(name="far", slots=1, functions=[RemoteFunction(name="echo")]))
    error, _ = await refused(far.call.read())

    assert error.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_stream_begins_with_one_hello(stream):
    first, twice = stream(), stream()

    await first.send(renew=Renew())
    early, _ = await refused(first.call.read())
    await twice.hello()
    await twice.send(hello=Hello(name="far", slots=1))
    late, _ = await refused(drained(twice.call))

    assert (early.code(), late.code()) == (grpc.StatusCode.INVALID_ARGUMENT,) * 2


# what the job brings along


async def test_an_attempt_knows_its_trace_and_its_event(stream, client):
    far = stream()
    await far.hello(RemoteFunction(name="echo", options='{"on": "order.created"}'))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    token = tracing.CURRENT.set(tracing.parse(parent))
    async with asyncio.timeout(WAIT):
        published = await client.publish("order.created", {"n": 1}, source="/shop", id="e1")
    tracing.CURRENT.reset(token)
    attempt = await far.attempt()
    await far.complete(attempt)

    assert published.jobs == [attempt.job_id]
    assert attempt.trace["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert json.loads(attempt.event)["id"] == "e1"
