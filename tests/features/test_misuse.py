"""Contracts at the edges: what is careless is told at once, by an error with a code, and nothing is lost."""

import asyncio
import json

import pytest

from runtime import Context, OutOfMemory, Retry, Timeout, function
from runtime.client import Lanework
from runtime.errors import FunctionInvalid, JobInvalid, LaneworkError, LoopChanged, PayloadInvalid
from runtime.handlers.spec import Function
from runtime.testing import call, call_async
from tests.conftest import deploy

WAIT = 20


@pytest.fixture
async def echo(client):
    async def echo(payload: object) -> object:
        return payload

    async def ints(xs: list[int]) -> None: ...

    await deploy(client, echo=echo, ints=ints)


@pytest.mark.parametrize(
    "many", [lambda: (n for n in range(2500)), lambda: map(int, range(2500)), lambda: {1: 2}.keys()]
)
async def test_any_iterable_can_be_enqueued(client, echo, many):
    ids = await client.enqueue_many("echo", many())

    assert len(ids) == len(set(ids)) == len(list(many()))
    assert (await client.get(ids[-1])).payload == list(many())[-1]


@pytest.mark.parametrize("one", ["text", b"bytes", {"a": 1}])
async def test_one_payload_in_place_of_many_is_refused(client, echo, one):
    with pytest.raises(JobInvalid, match="payloads"):
        await client.enqueue_many("echo", one)


async def test_a_generator_is_held_in_parts_and_an_error_tells_what_was_stored(client, echo):
    def payloads():
        yield from ([n] for n in range(2500))
        yield "wrong"

    with pytest.raises(PayloadInvalid) as error:
        await client.enqueue_many("ints", ({"xs": one} for one in payloads()))

    stored = error.value.stored
    assert 0 < len(stored) <= 2500
    assert (await client.get(stored[-1])).payload == {"xs": [len(stored) - 1]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"unique": 1 << 70},
        {"backoff": 1 << 70},
        {"backoff": {"base": 1 << 70}},
        {"unique": "\ud800"},
        {"delay": 1 << 70, "ttl": 1},
        {"ttl": 1 << 70, "start_before": 4_000_000_000_000},
        {"payload": "\ud800"},
        {"payload": 1 << 70},
    ],
)
async def test_an_odd_option_is_an_error_of_lanework_with_and_without_a_key(client, echo, wrong):
    wrong = dict(wrong)
    payload = wrong.pop("payload", None)
    for key in ({"key": "k"}, {}):
        if key or "start_before" not in wrong:  # without a key, what start_before overrides is not looked at
            with pytest.raises(LaneworkError):
                await client.enqueue("echo", payload, **wrong, **key)


@pytest.mark.parametrize("key", ["\ud800", "", 5, "x" * 513])
async def test_an_odd_key_is_refused(client, echo, key):
    with pytest.raises(JobInvalid):
        await client.enqueue("echo", key=key)


async def test_the_same_over_http(http, echo):
    deep = '{"type": "ints", "payload": {"xs": ' + "[" * 256 + "]" * 256 + "}}"
    bodies = [
        ('{"type": "echo", "unique": 36893488147419103232}', 422),
        ('{"type": "echo", "backoff": 36893488147419103232}', 422),
        (deep, 422),
    ]
    for body, status in bodies:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        assert (await http.post("/jobs", content=body, headers=headers)).status_code == status


async def test_the_client_keeps_the_limit_of_a_payload_too(client, echo):
    with pytest.raises(PayloadInvalid, match="the limit is"):
        await client.enqueue("echo", "x" * (2 << 20))


def test_a_client_on_a_second_event_loop_says_so_at_once(settings):
    lanework = Lanework(settings)

    async def use():
        await lanework.paused()

    async def use_and_close():
        try:
            await use()
        finally:
            await lanework.close()

    asyncio.run(use_and_close())
    with pytest.raises(LoopChanged, match="another event loop"):
        asyncio.run(use())


# functions


@pytest.mark.parametrize("alias", ["", "..", "a,echo=bad", "Upper", "handle", 5, "x" * 65])
def test_an_alias_is_a_name_like_any_other(alias):
    @function(aliases=(alias,))
    async def handle() -> None: ...

    with pytest.raises(FunctionInvalid, match="alias"):
        Function("handle", handle)


def test_two_contexts_are_refused():
    async def handle(ctx: Context, again: Context) -> None: ...

    with pytest.raises(FunctionInvalid, match="ctx and again"):
        Function("handle", handle)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({1: 0, "1": 0}, "two keys"),
        (float("nan"), "nan"),
        ([1, {"a": float("inf")}], "inf"),
        ({None: 1, "null": 2}, "two keys"),
    ],
)
def test_a_result_that_json_would_change_is_refused(result, told):
    def handle() -> object:
        return result

    assert told in call(handle).error["message"]


@pytest.mark.parametrize("result", [{1: 2}, [None], {"null": None}, 1.5])
def test_what_json_shows_as_it_is_stays(result):
    def handle() -> object:
        return result

    assert call(handle).result == json.loads(json.dumps(result))


def test_an_exceptions_name_is_bounded():
    def handle() -> None:
        raise type("X" * 3_000_000, (Exception,), {})

    assert len(call(handle).error["type"]) == 200


# what no further attempt can mend


@pytest.mark.parametrize(
    "wrong",
    ["('nowhere')", "('echo', priority='nowhere')", "('echo', dealy=1)", "('echo', delay=-1)", "('ints', {})"],
)
async def test_a_child_that_can_never_be_stored_fails_at_once(client, worker, wrong):
    async def echo(payload: object) -> None: ...

    async def ints(xs: list[int]) -> None: ...

    async def parent(ctx: Context) -> None:
        eval(f"ctx.enqueue{wrong}", {"ctx": ctx})

    async with worker(echo=echo, ints=ints, parent=parent):
        done = await client.wait((await client.enqueue("parent", max_attempts=5)).id, WAIT)

    assert (done.status, done.attempt) == ("failed", 1)


@pytest.mark.parametrize(
    ("retry", "error", "final"),
    [
        (Retry(no_retry_on=(ValueError,)), ValueError(), True),
        (Retry(no_retry_on=(ValueError,)), UnicodeError(), True),
        (Retry(no_retry_on=ValueError), KeyError(), False),
        (Retry(no_retry_on="ValueError"), ValueError(), True),
        (Retry(retry_on=(OSError, Timeout)), ConnectionError(), False),
        (Retry(retry_on=(OSError, Timeout)), Timeout(), False),
        (Retry(retry_on=(OSError, Timeout)), ValueError(), True),
        (Retry(no_retry_on=OutOfMemory), OutOfMemory(None), True),
    ],
)
def test_a_policy_says_by_exception_what_is_tried_again(retry, error, final):
    @function(retry=retry)
    def handle() -> None:
        raise error

    assert call(handle).status == ("failed" if final else "retry")


@pytest.mark.parametrize("wrong", [5, (int,), ("no name",), None])
def test_what_is_no_exception_is_refused(wrong):
    with pytest.raises(ValueError, match="names exceptions"):
        Retry(no_retry_on=wrong)


async def test_timeouts_and_memory_are_named_across_processes(client, worker, settings, folder):
    folder.write(
        slow="""
            import time
            from runtime import Retry, Timeout, function
            @function(timeout=0.2, retry=Retry(5, no_retry_on=(Timeout,)))
            def handle(): time.sleep(60)
        """,
        large="""
            from runtime import OutOfMemory, Retry, function
            @function(memory="128M", retry=Retry(5, no_retry_on=(OutOfMemory,)))
            def handle(): return len(b"x" * (1 << 30))
        """,
        wrong="""
            from runtime import Retry, function
            @function(retry=Retry(5, no_retry_on=(LookupError,)))
            def handle(): return {}["a"]
        """,
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        done = [await client.wait((await client.enqueue(name)).id, WAIT) for name in ("slow", "large", "wrong")]

    assert [(job.status, job.attempt) for job in done] == [("failed", 1)] * 3
    assert [job.error["type"] for job in done] == ["Timeout", "OutOfMemory", "KeyError"]


# schedules


def test_a_schedule_whose_function_needs_arguments_does_not_load():
    @function(schedule="0 2 * * *")
    async def handle(kind: str) -> None: ...

    with pytest.raises(FunctionInvalid, match=r"would never run.*kind"):
        Function("handle", handle)


async def test_a_schedule_carries_a_payload_and_tells_its_time(client, worker):
    @function(schedule={"* * * * * *": {"kind": "nightly"}})
    async def ticked(ctx: Context, kind: str) -> list:
        return [kind, ctx.job.scheduled_for]

    async with worker(ticked=ticked), asyncio.timeout(WAIT):
        while not (jobs := (await client.page(type="ticked", status="completed")).jobs):
            await asyncio.sleep(0.05)
        schedules = (await client.function("ticked")).schedules

    kind, tick = jobs[0].result
    assert (kind, tick % 1000) == ("nightly", 0)
    assert 0 <= jobs[0].created_at - tick < 5000
    assert list(schedules[0]) == ["* * * * * *", "UTC", {"kind": "nightly"}]


async def test_a_job_of_another_origin_has_no_tick(client, worker):
    async def f(ctx: Context) -> object:
        return ctx.job.scheduled_for

    async with worker(f=f):
        done = await client.wait((await client.enqueue("f")).id, WAIT)

    assert done.result is None


@pytest.mark.parametrize(
    ("type", "options"), [(5, {}), (None, {}), ("f", {"then": ["x"]}), ("f", {"then": 5}), ("f", {"then": "x"})]
)
@pytest.mark.parametrize("where", ["client", "handler"])
async def test_what_is_no_job_is_refused_at_once_wherever_it_is_asked_for(client, where, type, options):
    if where == "client":
        with pytest.raises(JobInvalid, match=r"type|then"):
            await client.enqueue(type, **options)
        return

    def parent(ctx: Context) -> None:
        ctx.enqueue(type, **options)

    outcome = await call_async(parent)

    assert (outcome.status, outcome.error["type"]) == ("failed", "JobInvalid")


async def test_a_tuple_as_a_key_is_told_as_such():
    outcome = await call_async(lambda: {("eu", "de"): 3})

    assert "a key is text or a number in JSON, not a tuple" in outcome.error["message"]
