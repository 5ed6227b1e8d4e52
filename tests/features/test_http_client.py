"""The client over a gateway's API: the methods of the client over Redis, for who has no access to Redis."""

import asyncio
import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from runtime import Context, Event, Permanent, function
from runtime.client import Lanework, LaneworkSync, connect
from runtime.client.bulk import Stored
from runtime.client.http import LaneworkHttp
from runtime.client.publishing import Published
from runtime.errors import (
    AccessDenied,
    AccessForbidden,
    EventInvalid,
    FunctionUnknown,
    JobInvalid,
    JobNotFound,
    KeyReused,
    LaneUnknown,
    LaneworkError,
    LoopChanged,
    PayloadInvalid,
    QueueFull,
    SettingsInvalid,
    StatusConflict,
    StoreUnavailable,
)
from runtime.jobs.request import JobRequest
from runtime.store.access import issue
from runtime.values.codec import to_json
from tests.conftest import deploy, serving, until_keys_are_asked_for
from tests.servers import free_port

WAIT = 20
ELSEWHERE = {"release"}  # for gateways
PUBLIC = [
    (name, method)
    for name, method in inspect.getmembers(Lanework, inspect.isfunction)
    if not name.startswith("_") and name not in ELSEWHERE
]


async def add(a: int, b: int = 0) -> int:
    return a + b


@function(retry=1)
async def fail() -> None:
    raise ValueError("bad day")


@pytest.fixture
async def lanework(http):
    async with connect(str(http.base_url)) as client:
        yield client


@pytest.mark.parametrize(("name", "method"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_it_has_the_methods_of_the_other_with_the_same_parameters(name, method):
    own, other = inspect.signature(getattr(LaneworkHttp, name)), inspect.signature(method)

    assert [(p.name, p.kind) for p in own.parameters.values()] == [
        (p.name, p.kind) for p in other.parameters.values()
    ]


async def test_jobs_are_what_the_other_client_has(lanework, client, worker):
    async with worker(add=add, fail=fail):
        job = await lanework.enqueue("add", {"a": 5, "b": 3}, tags="order:o1", priority="high")
        done = await lanework.wait(job, WAIT)
        failed = await lanework.wait(await lanework.enqueue("fail"), WAIT)

        assert (done.result, done.lane, done.tags) == (8, "high", {"order": "o1"})
        assert done == await client.get(job.id)
        assert failed == await client.get(failed.id)
        assert (await lanework.page(tag="order:o1")).jobs == (await client.page(tag="order:o1")).jobs


async def test_options_of_every_kind_come_through(lanework, client):
    await deploy(client, add=add)
    soon = datetime.now(UTC) + timedelta(hours=1)

    job = await lanework.enqueue(
        "add",
        {"a": 1},
        run_at=soon,
        max_attempts=7,
        backoff={"base": 2},
        unique="u1",
        key="k1",
        then=[JobRequest("add", {"a": 2}, on="failed", then=[JobRequest("add", {"a": 3})])],
    )
    again = await lanework.submit(
        JobRequest(
            "add",
            {"a": 1},
            run_at=soon,
            max_attempts=7,
            backoff={"base": 2},
            unique="u1",
            key="k1",
            then=[JobRequest("add", {"a": 2}, on="failed", then=[JobRequest("add", {"a": 3})])],
        )
    )

    assert (job.status, job.max_attempts, job.then[0]["on"]) == ("scheduled", 7, ["failed"])
    assert abs(job.run_at - soon.timestamp() * 1000) <= 1
    assert (again.job.id, again.new) == (job.id, False)
    assert (await lanework.find_unique("add", "u1")).id == job.id


async def test_many_at_once_and_those_that_are_refused(lanework, client):
    await deploy(client, add=add)

    ids = await lanework.enqueue_many("add", ({"a": n} for n in range(2500)), keys=(f"k{n}" for n in range(2500)))
    mixed = await lanework.submit_many(
        [JobRequest("add", {"a": 1}), JobRequest("nothing"), JobRequest("add", {"a": "x"})]
    )
    with pytest.raises(PayloadInvalid) as refused:
        await lanework.enqueue_many("add", [{"a": 1}, {"a": "x"}, {"a": 2}])

    assert len(set(ids)) == 2500
    assert [type(result) for result in mixed] == [Stored, FunctionUnknown, PayloadInvalid]
    assert len(refused.value.stored) == 2


async def test_errors_are_those_of_the_other(lanework, client):
    @function(max_waiting=1)
    async def narrow() -> None: ...

    await deploy(client, add=add, narrow=narrow)
    await client.enqueue("narrow")
    await lanework.enqueue("add", {"a": 1}, key="taken")
    job = await client.enqueue("add", {"a": 1})
    await client.cancel(job.id)

    for call, kind in (
        (lambda: lanework.enqueue("ad", {}), FunctionUnknown),
        (lambda: lanework.enqueue("add", {"a": "x"}), PayloadInvalid),
        (lambda: lanework.enqueue("add", {"a": 1}, priority="odd"), LaneUnknown),
        (lambda: lanework.enqueue("add", {"a": 1}, max_attempts=0), JobInvalid),
        (lambda: lanework.enqueue("add", {"a": b"bytes"}), PayloadInvalid),
        (lambda: lanework.enqueue("add", {"a": float("nan")}), PayloadInvalid),
        (lambda: lanework.enqueue("add", {"a": 1 << 70}), PayloadInvalid),
        (lambda: lanework.enqueue("add", {1: "a", "1": "b"}), PayloadInvalid),
        (lambda: lanework.enqueue("add", {"a": 1}, delay=float("nan")), JobInvalid),
        (lambda: lanework.enqueue("add", {"a": 1}, key="a b\n"), JobInvalid),
        (lambda: lanework.enqueue("add", {"a": 1}, key="é"), JobInvalid),
        (lambda: lanework.enqueue("add", {"a": 1}, then=[JobRequest("add", key="k")]), JobInvalid),
        (lambda: lanework.enqueue_many("add", "abc"), JobInvalid),
        (lambda: lanework.get(f"{job.id}/result"), JobNotFound),
        (lambda: lanework.function("a/b"), FunctionUnknown),
        (lambda: lanework.purge("add", lambda _: True), LaneworkError),
        (lambda: lanework.enqueue("add", {"a": 2}, key="taken"), KeyReused),
        (lambda: lanework.enqueue("narrow"), QueueFull),
        (lambda: lanework.get("00000000-0000-7000-8000-000000000000"), JobNotFound),
        (lambda: lanework.cancel(job.id), StatusConflict),
        (lambda: lanework.publish("a", source=""), EventInvalid),
    ):
        with pytest.raises(kind) as raised:
            await call()
        assert raised.value.code == kind.code
    with pytest.raises(FunctionUnknown) as unknown:
        await lanework.enqueue("ad", {})
    assert unknown.value.near == ["add"]
    with pytest.raises(QueueFull) as full:
        await lanework.enqueue("narrow")
    assert full.value.retry_after == 60


async def test_values_are_stored_as_over_redis(lanework, client, worker):
    @dataclass
    class Point:
        x: int
        when: datetime

    async def echo(payload) -> object:
        return payload

    point = Point(1, datetime(2030, 1, 1, tzinfo=UTC))
    values = [point, {"at": point.when}, (1, 2), {True: 1, None: 2}, {"n": 2**64 - 1, "s": "\u2028"}, [], None]
    async with worker(echo=echo):
        ours = [await lanework.wait((await lanework.enqueue("echo", value)).id, WAIT) for value in values]
        theirs = [await client.wait((await client.enqueue("echo", value)).id, WAIT) for value in values]
        raw = await client.wait(await client.enqueue("echo", b"\x00\xff"), WAIT)

        assert [to_json(job.result) for job in ours] == [to_json(job.result) for job in theirs]
        assert (await lanework.get(raw.id)).result == b"\x00\xff"
        assert await lanework.enqueue("echo", point, unique="payload", delay=60) == await client.enqueue(
            "echo", point, unique="payload", delay=60
        )


async def test_of_many_one_that_cannot_be_sent_is_refused_alone(lanework, client):
    await deploy(client, add=add)

    jobs = await lanework.submit_many(
        [JobRequest("add", {"a": 1}), JobRequest("add", {"a": {(1, 2): 3}}), JobRequest("add", {"a": 2})]
    )
    events = await lanework.publish_many([(Event("a", "/s", "1"), {}), (Event("a", "/s", "2"), object())])

    assert [type(result) for result in jobs] == [Stored, PayloadInvalid, Stored]
    assert [type(result) for result in events] == [Published, PayloadInvalid]


async def test_large_batches_go_in_parts(settings, client):
    async def echo(payload) -> None: ...

    await deploy(client, echo=echo)
    own = settings.model_copy(update={"batch_limit": 6 << 20})
    async with serving(own) as http, connect(str(http.base_url)) as lanework:
        ids = await lanework.enqueue_many("echo", ["y" * 20_000] * 700)

    assert len(set(ids)) == 700


async def test_follow_ups_from_a_generator_follow_every_job(lanework, client):
    await deploy(client, add=add)

    ids = await lanework.enqueue_many(
        "add", [{"a": 1}, {"a": 2}], then=(JobRequest("add", {"a": n}) for n in range(2))
    )

    assert [len((await client.get(job_id)).then) for job_id in ids] == [2, 2]


async def test_many_that_wait_keep_nobody_else_waiting(lanework, client):
    await deploy(client, add=add)
    job = await lanework.enqueue("add", {"a": 1}, delay="1h")

    waits = [asyncio.create_task(lanework.wait(job, 4)) for _ in range(150)]
    await asyncio.sleep(0)
    async with asyncio.timeout(3):
        await lanework.enqueue("add", {"a": 2})

    assert {(await wait).status for wait in waits} == {"scheduled"}


async def test_a_wait_ends_when_its_time_is_over(lanework, client):
    await deploy(client, add=add)
    job = await lanework.enqueue("add", {"a": 1}, delay="1h")

    started = asyncio.get_running_loop().time()
    await lanework.wait(job, 1.5)

    assert 1.4 < asyncio.get_running_loop().time() - started < 1.9


async def test_a_handle_enqueues_with_it(lanework, client):
    @function()
    async def words(text: str) -> int:
        return len(text)

    await deploy(client, test_http_client=words)

    assert (await words.enqueue(text="a b")).type == "test_http_client"


async def test_another_event_loop_is_told(lanework):
    with pytest.raises(LoopChanged):
        await asyncio.to_thread(asyncio.run, lanework.ping())


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://a:99999", "http://h/x?y=z", "http://user:s3cret@h:x/", "s3cret://h"]
)
def test_a_url_that_is_none_is_refused_without_showing_it(url):
    with pytest.raises(SettingsInvalid) as refused:
        connect(url)

    assert "s3cret" not in str(refused.value)


def test_a_user_in_the_url_and_an_access_key_are_one_too_many():
    with pytest.raises(SettingsInvalid, match="one of them goes out"):
        connect("http://user:pw@example.com", "lw_key")
    with pytest.raises(ValueError, match="url"):
        LaneworkSync(key="lw_key")


async def test_a_redirect_is_no_success():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 301 Moved\r\nlocation: https://h/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(LaneworkError, match="answered 301"):
            async with connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"):
                pass


async def test_a_lenient_request_has_its_warnings(lanework, client):
    await deploy(client, add=add)

    submitted = await lanework.submit(JobRequest("add", {"a": 1}, priority="odd"), lenient=True)

    assert (submitted.job.lane, len(submitted.warnings)) == ("normal", 1)


async def test_it_follows_a_job_as_the_other_does(lanework, client, worker):
    async def words(ctx: Context) -> int:
        for n in range(5):
            ctx.progress(n, 5)
            ctx.emit(f"word {n}")
            await asyncio.sleep(0.06)
        return 5

    async with worker(words=words):
        job = await lanework.enqueue("words")
        async with asyncio.timeout(WAIT):
            events = [event async for event in lanework.watch(job.id)]
            rest = [event async for event in lanework.watch(job.id, str(events[2].position))]
            theirs = [event async for event in client.watch(job.id, str(events[2].position))]
        output = await lanework.output(job.id)

    assert [event.value for event in events if event.kind == "output"] == [f"word {n}" for n in range(5)]
    assert (events[-1].kind, events[-1].job.result) == ("settled", 5)
    assert rest == theirs
    assert output == await client.output(job.id)
    assert await lanework.log(job.id) == await client.log(job.id)
    assert [event async for event in lanework.watch(job.id, str(events[-1].position))] == []


async def test_it_follows_all_jobs(lanework, client):
    await deploy(client, add=add)
    start = await lanework.recent()
    changes = lanework.changes(str(start.position), types=["add"], statuses=["pending"])
    first = await client.enqueue("add", {"a": 1})

    async with asyncio.timeout(WAIT):
        change = await anext(changes)
        while change.kind != "status":
            change = await anext(changes)
    recent = await lanework.recent(str(start.position))
    await changes.aclose()

    assert (change.id, change.status) == (first.id, "pending")
    assert recent == await client.recent(str(start.position))


async def test_events_are_published(lanework, client):
    @function(on="order.*")
    async def hear(order: str) -> None: ...

    await deploy(client, hear=hear)

    first = await lanework.publish("order.created", {"order": "o1"}, source="/shop", id="e1", subject="o1")
    again, bad = await lanework.publish_many(
        [(Event("order.created", "/shop", "e1"), {}), (Event("order.created", "/shop", "e2", time="soon"), {})]
    )

    assert (first.new, again.new, again.jobs) == (True, False, first.jobs)
    assert isinstance(bad, EventInvalid)
    assert (await client.get(first.jobs[0])).event["subject"] == "o1"


async def test_an_operators_work(lanework, client, worker):
    async with worker(add=add, fail=fail):
        failed = [await client.wait(await client.enqueue("fail"), WAIT) for _ in range(3)]
        assert [job.id for job in (await lanework.dead("fail")).jobs] == [job.id for job in failed[::-1]]
        assert await lanework.replay("fail", lambda job: job.id != failed[1].id, limit=1) == 1
        await client.wait(failed[0].id, WAIT)
    later = await lanework.enqueue("add", {"a": 1}, delay="1h", tags="order:o1")
    moved = await lanework.move(later.id, delay="2h")
    await lanework.pause(function="add")
    await lanework.pause(lane="low")
    paused = await lanework.paused()
    await lanework.resume(function="add")
    await lanework.resume(lane="low")
    counted = await lanework.cancel_tagged("order:o1", ["scheduled"], 5, dry_run=True)
    cleared = await lanework.clear("add", "scheduled", 5)

    assert moved.run_at > later.run_at
    assert sorted(paused) == ["function:add", "lane:low"]
    assert await lanework.paused() == []
    assert (counted.matched, counted.cancelled) == (1, 0)
    assert (cleared.cancelled, cleared.partial) == (1, False)
    assert (await lanework.cancel_tree((await lanework.enqueue("add", {"a": 1})).id, 5)).cancelled == 1


async def test_what_there_is(lanework, client, worker):
    @function(schedule="0 2 * * *", on="order.*", retry=1)
    async def nightly() -> None: ...

    async with worker(add=add, nightly=nightly):
        await client.wait(await client.enqueue("add", {"a": 1}), WAIT)
        waiting = await client.enqueue("add", {"a": 1}, delay="1h")

        assert await lanework.functions() == await client.functions()
        assert await lanework.function("nightly") == await client.function("nightly")
        assert await lanework.workers() == await client.workers()
        assert await lanework.scheduled() == 1
        assert await lanework.dead_counts(["add", "nothing"]) == {"add": 0, "nothing": 0}
        assert (await lanework.stats()).functions[0].whole.scheduled == 1
        assert [depth for depth in await lanework.depths() if depth.function == "add"] == await client.depths()
        assert await lanework.place(waiting.id) is None
        await lanework.ping()
        await lanework.check_ready()


async def test_an_access_key_is_shown_and_refusals_are_errors(http, client):
    await deploy(client, add=add)
    made, token = issue("writer", ["enqueue"])
    assert await client.access.add(made)
    await until_keys_are_asked_for(http)

    async with connect(str(http.base_url)) as nobody, connect(str(http.base_url), f"{token}") as writer:
        await writer.enqueue("add", {"a": 1})
        assert len(await writer.enqueue_many("add", [{"a": 1}, {"a": 2}])) == 2
        with pytest.raises(AccessDenied):
            await nobody.enqueue("add", {"a": 1})
        with pytest.raises(AccessForbidden):
            await writer.page()


async def test_code_without_a_loop_has_it_too(http, worker):
    def work():
        with LaneworkSync(url=str(http.base_url)) as lanework:
            job = lanework.enqueue("add", {"a": 2, "b": 2})
            kinds = [event.kind for event in lanework.watch(job.id)]
            return lanework.wait(job, 10).result, kinds[-1], len(lanework.page().jobs)

    async with worker(add=add):
        assert await asyncio.to_thread(work) == (4, "settled", 1)


async def test_what_only_a_key_decides_is_refused(lanework):
    with pytest.raises(ValueError, match="visible"):
        await lanework.recent(visible=lambda _: False)


async def test_a_gateway_that_is_not_there_is_unavailable():
    with pytest.raises(StoreUnavailable, match="does not answer"):
        async with connect(f"http://127.0.0.1:{free_port()}"):
            pass


async def test_what_a_proxy_says_is_an_error_too():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(StoreUnavailable, match="answered 502"):
            async with connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"):
                pass


def test_the_url_decides(settings, monkeypatch):
    assert isinstance(connect(settings.redis_url), Lanework)
    with pytest.raises(SettingsInvalid, match="neither"):
        connect("ftp://example.com")
    with pytest.raises(SettingsInvalid, match="lw_"):
        connect("http://example.com", "no key")


async def test_a_failed_job_tells_its_error(lanework, worker):
    async def broken() -> None:
        raise Permanent("no")

    async with worker(broken=broken):
        done = await lanework.wait((await lanework.enqueue("broken")).id, WAIT)

    assert (done.status, done.error["type"], done.attempts[0]["outcome"]) == ("failed", "Permanent", "failed")
