"""What an attempt of a remote worker starts: jobs and events, if it completes."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from runtime import Context, function
from runtime.jobs.request import JobRequest
from runtime.remote import Worker
from runtime.rpc.generated.lanework.v1 import jobs_pb2
from runtime.rpc.generated.lanework.v1.worker_pb2 import Failed, Hello, Publish, RemoteFunction, Start, WorkRequest
from runtime.values import ids
from tests.conftest import deploy
from tests.rpc.test_remote import call

WAIT = 20
JSON = jobs_pb2.ENCODING_JSON


@pytest.fixture
async def known(client):
    """Functions whose jobs nobody runs: what starts waits."""

    async def echo(payload):
        return payload

    async def add(a: int) -> int:
        return a

    @function(on="order.*")
    async def hears(payload):
        return payload

    @function(aliases=["mail_old"])
    async def secret(payload):
        return payload

    await deploy(client, echo=echo, add=add, hears=hears, secret=secret)


@contextlib.asynccontextmanager
async def serving(url, key="", **handlers):
    """A remote worker in Python, on a thread of this process."""
    worker = Worker(url, name="far", key=key)
    for name, handler in handlers.items():
        worker.register(name, handler)
    thread = asyncio.ensure_future(asyncio.to_thread(worker.run))
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(WAIT):
            await thread


class Far:
    """The worker's end of a stream."""

    def __init__(self, stream):
        self._stream = stream

    async def send(self, attempt=None, **message):
        about = {} if attempt is None else {"job_id": attempt.job_id, "attempt": attempt.attempt}
        await self._stream.write(WorkRequest(**about, **message))

    async def read(self, kind):
        async with asyncio.timeout(WAIT):
            return getattr(await self._stream.read(), kind)

    async def complete(self, attempt):
        await self.send(attempt, completed={"result": b"null", "result_encoding": JSON})


@contextlib.asynccontextmanager
async def stream(served, *names, metadata=None):
    """A worker that serves these functions, welcome."""
    opened = served.work(timeout=60, metadata=metadata)
    far = Far(opened)
    functions = [RemoteFunction(name=name, options='{"retry": 1}') for name in names or ("parent",)]
    await far.send(hello=Hello(name="far", slots=4, functions=functions))
    await far.read("welcome")
    try:
        yield far
    finally:
        opened.cancel()


def start(number, type="echo", **fields):
    when_all_settled = fields.pop("when_all_settled", False)
    job = jobs_pb2.EnqueueJobRequest(type=type, **fields)
    return Start(number=number, job=job, when_all_settled=when_all_settled)


async def waiting(client):
    """Types and payloads of the jobs that wait."""
    jobs = [job for job in (await client.page(limit=100)).jobs if job.type != "parent"]
    return sorted((job.type, job.payload) for job in jobs if job.status in ("pending", "scheduled"))


# in Python


async def test_jobs_start_with_their_ids_once_the_attempt_has_completed(served, client, known):
    async def parent(ctx: Context) -> list[str]:
        first = ctx.enqueue("echo", {"n": 1}, priority="high", tags={"order": "o1"}, max_attempts=7)
        second = ctx.enqueue("add", {"a": 2}, delay="1h", backoff={"base": 2, "cap": 9})
        return [first, second]

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")
    first, second = [await client.get(job_id) for job_id in done.result]

    assert done.children == done.result
    assert (first.payload, first.lane, first.tags, first.max_attempts) == ({"n": 1}, "high", {"order": "o1"}, 7)
    assert (second.payload, second.status, second.parent) == ({"a": 2}, "scheduled", done.id)


@pytest.mark.parametrize("payload", [None, b"\x00\xff", [1, 2.5, None], "text", {"deep": [{"a": 2**60}]}])
async def test_a_payload_comes_as_it_was_given(served, client, known, payload):
    async def parent(ctx: Context) -> str:
        return ctx.enqueue("echo", payload)

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")

    assert (await client.get(done.result)).payload == payload


async def test_a_time_may_be_a_datetime_and_jobs_may_follow(served, client, known):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)

    async def parent(ctx: Context) -> str:
        after = JobRequest("echo", {"then": True}, on="settled", delay=5)
        return ctx.enqueue("echo", 1, run_at=at, then=[after], unique="one")

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")
    job = await client.get(done.result)

    assert job.run_at == at.timestamp() * 1000
    assert [(after["type"], after["on"]) for after in job.then] == [("echo", ["settled"])]
    assert (await client.find_unique("echo", "one")).id == job.id


async def test_an_event_is_published_to_who_subscribes(served, client, known):
    async def parent(ctx: Context) -> str:
        return ctx.publish("order.paid", {"order": 7}, subject="o7", shop="north")

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")
    (child,) = [await client.get(job_id) for job_id in done.children]

    assert (child.type, child.payload) == ("hears", {"order": 7})
    assert {name: child.event[name] for name in ("id", "type", "source", "subject", "shop")} == {
        "id": done.result,
        "type": "order.paid",
        "source": "/functions/parent",
        "subject": "o7",
        "shop": "north",
    }


async def test_a_follow_up_waits_for_all_others(served, client, known, worker):
    async def parent(ctx: Context) -> str:
        ctx.enqueue("part", 1)
        last = ctx.when_all_settled("total", {"of": 2})
        ctx.enqueue("part", 2)
        return last

    ended = []

    async def part(payload):
        ended.append(payload)

    async def total(payload):
        return [*sorted(ended), payload]

    async with worker(part=part, total=total), serving(served.url, parent=parent):
        done = await call(client, "parent")
        for child in done.children[:2]:
            await client.wait(child, WAIT)
        last = await client.wait(done.result, WAIT)

    assert last.result == [1, 2, {"of": 2}]


async def test_many_jobs_each_start_once(served, client, known):
    async def parent(ctx: Context) -> int:
        return len({ctx.enqueue("echo", n) for n in range(2000)})

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")
        async with asyncio.timeout(WAIT):
            while sum(depth.waiting for depth in await client.depths() if depth.function == "echo") < 2000:
                pass

    found, cursor = [], None
    while True:
        page = await client.page(limit=500, cursor=cursor, type="echo", fields=["payload"])
        found += [job.payload for job in page.jobs]
        if (cursor := page.cursor) is None:
            break
    assert (done.result, sorted(found)) == (2000, list(range(2000)))


async def test_an_attempt_that_fails_starts_nothing(served, client, known):
    @function(retry=1)
    async def parent(ctx: Context) -> None:
        ctx.enqueue("echo")
        ctx.publish("order.paid")
        raise ValueError("no")

    async with serving(served.url, parent=parent):
        done = await call(client, "parent")

    assert (done.status, done.children, await waiting(client)) == ("failed", [], [])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda ctx: ctx.enqueue("nobody"), "FunctionUnknown"),
        (lambda ctx: ctx.enqueue("add", {"a": "text"}), "PayloadInvalid"),
        (lambda ctx: ctx.enqueue("echo", {"a": b"bytes"}), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", {"a": float("nan")}), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", "x" * (4 << 20)), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", "x" * (2 << 20)), "JobInvalid"),
        (lambda ctx: ctx.enqueue("\udcff"), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", color="red"), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", delay="soon"), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", run_at=datetime(2030, 1, 1)), "JobInvalid"),
        (lambda ctx: ctx.enqueue("echo", priority="nowhere"), "LaneUnknown"),
        (lambda ctx: ctx.publish("order paid\n"), "EventInvalid"),
        (lambda ctx: ctx.publish("order.paid", id="mine"), "EventInvalid"),
    ],
)
async def test_what_cannot_be_stored_fails_the_attempt_and_starts_nothing(served, client, known, wrong, error):
    @function(retry=1)
    async def parent(ctx: Context) -> None:
        ctx.enqueue("echo")
        wrong(ctx)

    @function(retry=1)
    async def other() -> str:
        return "still here"

    async with serving(served.url, parent=parent, other=other):
        done = await call(client, "parent")
        assert (await call(client, "other")).result == "still here"

    assert (done.status, done.error["type"], await waiting(client)) == ("failed", error, [])


# as the protocol has it


async def test_a_start_counts_from_the_id_that_came_with_the_attempt(served, client, known):
    async with stream(served) as far:
        parent = await client.enqueue("parent")
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(40, payload=b'{"n": 40}'))
        await far.send(attempt, publish=Publish(number=0, type="order.paid", data=b"[1]", data_encoding=JSON))
        before = await waiting(client)
        await far.complete(attempt)
        done = await client.wait(parent.id, WAIT)

    assert (before, await waiting(client)) == ([], [("echo", {"n": 40}), ("hears", [1])])
    assert ids.following(attempt.start_id, 40) in done.children
    assert ids.shard_of(attempt.start_id) == ids.shard_of(parent.id)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([start(0), start(0)], "number: 0 was that of another"),
        ([start(-1)], "number: counts from 0 on"),
        ([start(1 << 20)], "number: counts from 0 on"),
        ([start(0, idempotency_key="k")], "idempotency_key: is not for what an attempt starts"),
        ([start(0, options="[")], "options: is not JSON"),
        ([start(0, options="[]")], "options: is an object"),
        ([start(0, options='{"key": "k"}')], "a job has"),
        ([start(0, payload=b"{", payload_encoding=JSON)], "payload: is not JSON"),
        ([start(0, type="")], "FunctionUnknown"),
        ([start(n, when_all_settled=True) for n in (0, 1)], "already has a follow-up"),
        ([Publish(type="order.paid", extensions="3")], "extensions: is an object"),
        ([Publish(type="order.paid", extensions='{"source": "x"}')], "source is no extension"),
        ([Publish()], "this is no CloudEvent"),
    ],
)
async def test_what_is_wrong_is_told_and_nothing_starts(served, client, known, messages, told):
    async with stream(served) as far:
        parent = await client.enqueue("parent")
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(7))
        for message in messages:
            await far.send(attempt, **{type(message).__name__.lower(): message})
        await far.send(attempt, start=start(8))
        await far.complete(attempt)
        done = await client.wait(parent.id, WAIT)

    assert done.status == "failed"
    assert told in f"{done.error['type']}: {done.error['message']}"
    assert await waiting(client) == []


async def test_a_stream_that_breaks_before_the_end_has_started_nothing(served, client, known):
    async with stream(served) as far:
        parent = await client.enqueue("parent", max_attempts=2)
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(0))
    async with stream(served) as far:
        again = await far.read("attempt")
        await far.send(again, start=start(0, payload=b'{"attempt": 2}'))
        await far.complete(again)
        await client.wait(parent.id, WAIT)

    assert again.start_id != attempt.start_id
    assert await waiting(client) == [("echo", {"attempt": 2})]


async def test_a_job_that_no_request_could_bring_fails_its_attempt_and_no_other(served, client, known):
    async with stream(served, "parent", "other") as far:
        parent, other = await client.enqueue("parent"), await client.enqueue("other")
        attempts = [await far.read("attempt") for _ in range(2)]
        mine, theirs = sorted(attempts, key=lambda attempt: attempt.type == "other")
        await far.send(mine, start=start(0, payload=b"x" * (2 << 20)))
        await far.send(theirs, start=start(0))
        await far.complete(mine)
        await far.complete(theirs)
        done, well = await client.wait(parent.id, WAIT), await client.wait(other.id, WAIT)

    assert (done.status, well.status) == ("failed", "completed")
    assert "20000 bytes" in done.error["message"]
    assert await waiting(client) == [("echo", None)]


async def test_one_that_asks_for_more_than_the_gateway_holds_is_handed_back(served, client, known, monkeypatch):
    monkeypatch.setattr("runtime.rpc.work.starting.HELD", 25_000)
    async with stream(served, "parent", "other") as far:
        parent, other = await client.enqueue("parent"), await client.enqueue("other")
        attempts = [await far.read("attempt") for _ in range(2)]
        mine, theirs = sorted(attempts, key=lambda attempt: attempt.type == "other")
        for number, attempt in enumerate((theirs, mine)):
            await far.send(attempt, start=start(number, payload=b"x" * 19_000))
        await far.complete(mine)
        again = await far.read("attempt")
        await far.complete(theirs)
        await client.wait(other.id, WAIT)
        await far.send(again, start=start(0, payload=b"x" * 19_000))
        await far.complete(again)
        done = await client.wait(parent.id, WAIT)

    assert (done.status, done.attempts[0]["outcome"], again.tries) == ("completed", "released", 1)
    assert len(await waiting(client)) == 2


async def test_what_brings_too_many_jobs_is_refused(served, client, known):
    options = json.dumps({"then": [{"type": "echo", "then": [{"type": "echo"}] * 90}] * 12})
    async with stream(served) as far:
        parent = await client.enqueue("parent")
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(0, options=options))
        await far.complete(attempt)
        done = await client.wait(parent.id, WAIT)

    assert (done.status, await waiting(client)) == ("failed", [])
    assert "1,000 jobs at most" in done.error["message"]


async def test_a_failed_end_after_starts_starts_nothing(served, client, known):
    async with stream(served) as far:
        parent = await client.enqueue("parent")
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(0))
        await far.send(attempt, failed=Failed(type="Oops"))
        done = await client.wait(parent.id, WAIT)

    assert (done.status, done.children, await waiting(client)) == ("failed", [], [])


# with a key


@pytest.mark.parametrize("message", [start(0, "secret"), start(0, "mail_old"), Publish(type="order.paid")])
async def test_a_worker_starts_what_its_key_is_for_alone(served, client, known, key, message):
    async with stream(served, "mail_send", metadata=await key("work", functions=["mail_*"])) as far:
        parent = await client.enqueue("mail_send")
        attempt = await far.read("attempt")
        await far.send(attempt, **{type(message).__name__.lower(): message})
        await far.complete(attempt)
        done = await client.wait(parent.id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "AccessForbidden")
    assert {job.type for job in (await client.page(limit=10)).jobs} == {"mail_send"}


async def test_what_follows_is_the_keys_too(served, client, known, key):
    options = json.dumps({"then": [{"type": "secret"}]})
    async with stream(served, "mail_send", metadata=await key("work", functions=["mail_*"])) as far:
        parent = await client.enqueue("mail_send")
        attempt = await far.read("attempt")
        await far.send(attempt, start=start(0, "mail_send", options=options))
        await far.complete(attempt)
        done = await client.wait(parent.id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "AccessForbidden")
