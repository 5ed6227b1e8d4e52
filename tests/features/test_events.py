"""Events: functions that subscribe, and what publishing one brings about."""

import asyncio

import pytest

from runtime import Context, Event, Permanent, function
from runtime.client import Lanework
from runtime.errors import EventInvalid, FunctionInvalid, JobInvalid, LaneworkError, QueueFull
from runtime.jobs.event import Subscription
from runtime.testing import call
from runtime.tracing import CURRENT, Trace
from tests.conftest import deploy


@function(on="order.created")
async def confirm(order: str, total: float = 0) -> str:
    return f"{order}: {total}"


@function(on=("order.*", "refund.*"), where={"source": "/shop/*"})
async def audit(event: Event, payload) -> dict:
    return event.attributes


async def bystander(payload) -> None: ...


async def results(client, published):
    jobs = [await client.wait(job_id, 10) for job_id in published.jobs]
    return {job.type: job.result for job in jobs}


async def test_each_subscriber_gets_a_job_with_the_data(client, worker):
    async with worker(confirm=confirm, audit=audit, bystander=bystander):
        published = await client.publish(
            "order.created", {"order": "o1", "total": 9}, source="/shop/eu", id="e1", subject="o1", customer="c7"
        )
        found = await results(client, published)

    assert published.new
    assert found["confirm"] == "o1: 9.0"
    attributes = found["audit"]
    assert attributes.pop("time").endswith("Z")
    assert attributes == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/shop/eu",
        "type": "order.created",
        "subject": "o1",
        "customer": "c7",
    }


async def test_a_job_shows_the_event_that_brought_it(client):
    await deploy(client, confirm=confirm, bystander=bystander)

    published = await client.publish("order.created", {"order": "o1"}, source="/shop", id="e1")
    plain = await client.enqueue("bystander", 1)

    job = await client.get(published.jobs[0])
    assert (job.type, job.payload, job.event["id"]) == ("confirm", {"order": "o1"}, "e1")
    assert job.to_json()["event"]["source"] == "/shop"
    assert plain.event is None


async def test_the_same_event_again_makes_no_job(client):
    await deploy(client, confirm=confirm)
    first = await client.publish("order.created", {"order": "o1"}, source="/shop", id="e1")

    again = await client.publish("order.created", {"order": "other"}, source="/shop", id="e1")
    other_source = await client.publish("order.created", {"order": "o1"}, source="/shop2", id="e1")
    other_id = await client.publish("order.created", {"order": "o1"}, source="/shop", id="e2")

    assert (first.new, again.new, again.jobs) == (True, False, first.jobs)
    assert len({*first.jobs, *other_source.jobs, *other_id.jobs}) == 3


async def test_a_hundred_that_publish_the_same_event_make_one_job(client, redis):
    await deploy(client, confirm=confirm)

    published = await asyncio.gather(
        *(client.publish("order.created", {"order": "o1"}, source="/shop", id="e1") for _ in range(100))
    )

    assert len({job for one in published for job in one.jobs}) == 1
    assert sum(one.new for one in published) == 1


async def test_without_a_subscriber_there_is_no_job(client):
    await deploy(client, bystander=bystander, audit=audit)

    published = await client.publish("order.created", {"order": "o1"}, source="/elsewhere")

    assert (published.jobs, published.new) == ([], True)


async def test_an_alias_is_the_same_subscriber(client):
    @function(on="order.created", aliases=("konfirm",))
    async def both(order: str) -> None: ...

    await deploy(client, both=both)

    published = await client.publish("order.created", {"order": "o1"})

    assert len(published.jobs) == 1


async def test_data_that_does_not_fit_is_the_subscribers_failure_and_not_the_publishers(client, worker):
    async with worker(confirm=confirm, audit=audit):
        published = await client.publish("order.created", {"ordre": "o1"}, source="/shop/1")
        jobs = {job.type: job for job in [await client.wait(job_id, 10) for job_id in published.jobs]}

    assert (jobs["confirm"].status, jobs["confirm"].error["type"]) == ("failed", "PayloadInvalid")
    assert jobs["audit"].status == "completed"


async def test_a_subscriber_that_is_full_is_told_and_the_others_have_it_once(client):
    @function(on="order.created", max_waiting=1)
    async def narrow(order: str) -> None: ...

    await deploy(client, confirm=confirm, narrow=narrow)
    await client.enqueue("narrow", {"order": "before"})

    with pytest.raises(QueueFull):
        await client.publish("order.created", {"order": "o1"}, source="/shop", id="e1")
    (waits,) = (await client.page(type="narrow")).jobs
    await client.cancel(waits.id)
    again = await client.publish("order.created", {"order": "o1"}, source="/shop", id="e1")

    assert len(again.jobs) == 2
    assert len((await client.page(type="confirm")).jobs) == 1


async def test_a_thousand_events_at_once(client):
    await deploy(client, confirm=confirm, audit=audit)
    events = [(Event("order.created", "/shop/1", str(n)), {"order": str(n)}) for n in range(1000)]

    published = await client.publish_many(events)

    assert [it.event.id for it in published] == [str(n) for n in range(1000)]
    assert len({job for it in published for job in it.jobs}) == 2000


async def test_of_many_events_one_that_cannot_be_is_refused_alone(client):
    await deploy(client, confirm=confirm)

    good, bad = await client.publish_many(
        [
            (Event("order.created", "/shop", "1"), {"order": "1"}),
            (Event("order.created", "/shop", "\ud800"), {"order": "2"}),
        ]
    )

    assert (len(good.jobs), type(bad)) == (1, EventInvalid)


# within attempts


@pytest.mark.parametrize("isolation", ["loop", "process"])
async def test_an_attempt_publishes_when_it_completes(client, worker, folder, settings, isolation):
    folder.write(
        buy=f"""
        from runtime import Context, function
        @function(isolation="{isolation}")
        async def handle(ctx: Context, order: str):
            return ctx.publish("order.created", {{"order": order}}, subject=order)
        """,
        confirm="""
        from runtime import Event, function
        @function(on="order.*")
        def handle(order: str, event: Event):
            return [order, event.id, event.source, event.subject]
        """,
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        bought = await client.wait((await client.enqueue("buy", {"order": "o1"})).id, 30)
        (child,) = bought.children
        confirmed = await client.wait(child, 30)

    assert confirmed.result == ["o1", bought.result, "/functions/buy", "o1"]
    assert (confirmed.parent, confirmed.event["id"]) == (bought.id, bought.result)


async def test_an_attempt_that_does_not_complete_publishes_nothing(client, worker):
    async def fail(ctx: Context) -> None:
        ctx.publish("order.created", {"order": "o1"})
        raise Permanent("no")

    async with worker(fail=fail, confirm=confirm):
        failed = await client.wait((await client.enqueue("fail")).id, 10)

    assert failed.status == "failed"
    assert [job.type for job in (await client.page()).jobs] == ["fail"]


async def test_many_events_of_one_attempt_are_each_published_once(client, worker):
    got = []

    @function(on="counted")
    async def count(n: int) -> None:
        got.append(n)

    async def many(ctx: Context) -> None:
        for n in range(600):
            ctx.publish("counted", {"n": n})

    async with worker(many=many, count=count):
        await client.enqueue("many")
        async with asyncio.timeout(30):
            while len(got) < 600:
                await asyncio.sleep(0.01)

    assert sorted(got) == list(range(600))


async def test_a_subscriber_whose_jobs_lie_in_another_shard_gets_it_too(settings, worker, folder, redis):
    settings = settings.model_copy(update={"shards": 8, "functions_dir": folder.path})
    folder.write(
        buy="""
        from runtime import Context
        async def handle(ctx: Context, n: int):
            ctx.publish("bought", {"n": n, "token": "hunter2"})
        """,
        limited="""
        from runtime import Event, function
        @function(on="bought", concurrency=2)
        async def handle(n: int, token: str, event: Event):
            return [n, event.source]
        """,
    )
    trace = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with Lanework(settings) as client, worker(settings):
        CURRENT.set(trace)
        jobs = [await client.enqueue("buy", {"n": n}) for n in range(12)]
        CURRENT.set(None)
        for job in jobs:
            assert (await client.wait(job, 20)).status == "completed"
        async with asyncio.timeout(20):
            got = []
            while len(got) < 12 or not all(job.settled for job in got):
                got = (await client.page(type="limited")).jobs
        deliveries = (await client.page(type="event_delivery", limit=100)).jobs

    assert sorted(job.result for job in got) == [[n, "/functions/buy"] for n in range(12)]
    assert len(deliveries) > 0
    assert {job.payload["data"] for job in deliveries} == {"***"}
    assert {job.trace_id for job in (*got, *deliveries)} == {trace.id}
    assert len({job.id for job in got}) == 12


async def test_a_delivery_that_waits_is_cancelled_with_what_published(settings, worker, folder):
    settings = settings.model_copy(update={"shards": 8, "functions_dir": folder.path})
    folder.write(
        buy="""
        from runtime import Context
        async def handle(ctx: Context):
            ctx.publish("bought")
        """,
        limited="""
        from runtime import function
        @function(on="bought", concurrency=2)
        async def handle(): return 1
        """,
    )
    async with Lanework(settings) as client, worker(settings):
        await client.pause(function="event_delivery")
        await client.pause(function="limited")
        for _ in range(12):
            job = await client.wait((await client.enqueue("buy")).id, 20)
            assert (await client.cancel_tree(job.id, 5)).cancelled == 1
        left = [job.status for job in (await client.page(limit=100)).jobs if job.type != "buy"]

    assert left == ["cancelled"] * 12


async def test_nobody_else_starts_what_is_built_in(client):
    with pytest.raises(JobInvalid, match="event_delivery is built in"):
        await client.enqueue("event_delivery", {})


async def test_an_event_that_cannot_be_fails_where_it_is_published(client, worker):
    async def wrong(ctx: Context, attributes: dict) -> None:
        ctx.publish(**attributes)

    async with worker(wrong=wrong):
        jobs = [
            await client.enqueue("wrong", {"attributes": attributes}, max_attempts=1)
            for attributes in ({"type": ""}, {"type": "a", "id": "x"}, {"type": "a", "Big": 1})
        ]
        errors = [(await client.wait(job, 10)).error for job in jobs]

    assert [error["type"] for error in errors] == ["EventInvalid"] * 3
    assert "type is text without control characters, and not empty" in errors[0]["message"]
    assert "id is not to be given" in errors[1]["message"]
    assert "Big is not the name of an attribute" in errors[2]["message"]


def test_too_many_events_are_refused():
    def too_many(ctx: Context) -> None:
        for _ in range(100_001):
            ctx.publish("a")

    assert call(too_many, max_attempts=1).error["type"] == "JobInvalid"


def test_a_test_sees_what_would_be_published():
    async def buy(ctx: Context, event: Event) -> str:
        ctx.publish("order.created", {"order": "o1"}, subject="o1")
        return event.id

    bought = call(buy, event=Event("cart.ready", "/shop", "e1"))
    direct = call(buy)

    ((event, data),) = bought.published
    assert (bought.result, event.type, event.subject, data) == ("e1", "order.created", "o1", {"order": "o1"})
    assert direct.result != "e1"


# declarations and attributes


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"on": ""}, "on is a pattern"),
        ({"on": 5}, "on is a pattern"),
        ({"on": ["a", None]}, "on is a pattern"),
        ({"where": {"source": "/a"}}, "where needs on"),
        ({"on": "a", "where": ["source"]}, "where is patterns by attribute"),
        ({"on": "a", "where": {"Source": "/a"}}, "'Source' is no attribute"),
        ({"on": "a", "where": {"data": "/a"}}, "'data' is no attribute"),
        ({"on": "a", "where": {"source": 5}}, "where: source is a pattern"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(arguments, problem):
    with pytest.raises(FunctionInvalid, match=problem):
        function(**arguments)


def test_one_parameter_takes_the_event():
    async def two(a: Event, b: Event) -> None: ...

    with pytest.raises(FunctionInvalid, match="a and b are both Event"):
        call(two)


@pytest.mark.parametrize(
    ("on", "where", "wanted"),
    [
        (["order.created"], {}, True),
        (["order.*"], {}, True),
        (["*"], {}, True),
        (["order"], {}, False),
        (["order.?reated"], {}, False),
        (["refund.*", "*.created"], {}, True),
        (["*"], {"source": ["/shop/*"]}, True),
        (["*"], {"source": ["/shop/[1]"]}, True),
        (["*"], {"source": ["/shop"]}, False),
        (["*"], {"source": ["/other", "/shop/*"], "vip": ["true"]}, True),
        (["*"], {"vip": ["True"]}, False),
        (["*"], {"amount": ["12"]}, True),
        (["*"], {"missing": ["*"]}, False),
    ],
)
def test_patterns(on, where, wanted):
    event = Event("order.created", "/shop/[1]", "e1", extensions={"vip": True, "amount": 12})

    assert Subscription(on, where).wants(event) is wanted


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"id": None}, "/id"),
        ({"source": ""}, "/source"),
        ({"type": 5}, "/type"),
        ({"id": "x" * 1025}, "/id"),
        ({"subject": "a\nb"}, "/subject"),
        ({"specversion": "0.3"}, "/specversion"),
        ({"time": "yesterday"}, "/time"),
        ({"time": "2026-01-31T10:00:00"}, "/time"),
        ({"time": "2026-02-31T10:00:00Z"}, "/time"),
        ({"time": "1700000000000"}, "/time"),
        ({"Upper": "x"}, "/Upper"),
        ({"data": "x"}, "/data"),
        ({"big": 1 << 31}, "/big"),
        ({"half": 0.5}, "/half"),
        ({"list": []}, "/list"),
        ({"many": "x" * 9000}, "/"),
        ({"lone": "\ud800"}, "/lone"),
    ],
)
def test_an_attribute_that_cannot_be_is_named(attributes, field):
    with pytest.raises(EventInvalid) as refused:
        Event.of({"id": "1", "source": "/s", "type": "t", **attributes})

    assert [error["field"] for error in refused.value.errors] == [field]


async def test_the_client_refuses_such_an_event(client):
    with pytest.raises(EventInvalid, match="source is text"):
        await client.publish("a", source="")


async def test_data_that_cannot_be_stored_is_refused(client):
    await deploy(client, audit=audit)

    with pytest.raises(LaneworkError, match="cannot be stored"):
        await client.publish("order.x", {"n": 1 << 70}, source="/shop/1")
