"""What starts when a job has settled: by status, and told what came of it."""

import asyncio
from datetime import UTC, datetime

import pytest

from runtime import Context, Permanent, function
from runtime.client.follow_ups import FIELDS
from runtime.errors import FunctionInvalid, JobInvalid
from runtime.jobs.request import JobRequest
from runtime.store.registry import describe
from tests.conftest import catalogue, deploy, record_key


@pytest.fixture
def heard():
    """A function that keeps what it gets, and those that came so far."""
    got = asyncio.Queue()

    async def hear(payload):
        got.put_nowait(payload)

    async def next_one():
        return await asyncio.wait_for(got.get(), 10)

    hear.next, hear.is_empty = next_one, got.empty
    return hear


async def good(n: int = 1) -> int:
    return n


async def bad(n: int = 1) -> None:
    raise Permanent("no such house")


async def slow() -> None:
    await asyncio.sleep(600)


def hears(*statuses):
    return [JobRequest("hear", status, on=status) for status in statuses]


@pytest.mark.parametrize(
    ("name", "started"),
    [("good", {"completed", "settled"}), ("bad", {"failed", "settled"})],
)
async def test_a_follow_up_starts_in_the_status_that_it_names(client, worker, heard, name, started):
    async with worker(good=good, bad=bad, hear=heard):
        job = await client.enqueue(name, then=hears("completed", "failed", "cancelled", "settled"))
        assert {await heard.next(), await heard.next()} == started
        done = await client.wait(job, 10)

    assert len(done.children) == 2
    assert heard.is_empty()


async def test_cancelling_starts_those_for_that(client, worker, heard):
    async with worker(slow=slow, hear=heard):
        waiting = await client.enqueue("slow", delay=600, then=hears("cancelled"))
        running = await client.enqueue("slow", then=hears("settled", "completed"))
        while (await client.get(running.id)).status != "running":
            await asyncio.sleep(0)
        await client.cancel(waiting.id)
        assert await heard.next() == "cancelled"
        await client.cancel(running.id)
        assert await heard.next() == "settled"

    assert heard.is_empty()


async def test_a_job_that_expires_or_is_poison_has_failed(client, worker, heard):
    await deploy(client, slow=slow, hear=heard)
    await client.enqueue("slow", ttl="1ms", then=hears("failed", "completed"))

    async with worker(slow=slow, hear=heard):
        assert await heard.next() == "failed"


async def test_a_payload_tells_of_the_job_before(client, worker, heard):
    payload = {"all": {"$job": list(FIELDS)}, "list": [1, {"$job": "result"}], "plain": {"$job": 1, "n": 2}}
    async with worker(good=good, hear=heard):
        job = await client.enqueue("good", {"n": 2**60 + 1}, then=[JobRequest("hear", payload)])
        got = await heard.next()
        done = await client.get(job.id)

    assert got == {
        "all": {
            "id": job.id,
            "type": "good",
            "lane": "normal",
            "status": "completed",
            "payload": {"n": 2**60 + 1},
            "result": 2**60 + 1,
            "error": None,
            "attempt": 1,
            "created_at": done.to_json()["created_at"],
            "started_at": done.to_json()["started_at"],
            "finished_at": done.to_json()["finished_at"],
        },
        "list": [1, 2**60 + 1],
        "plain": {"$job": 1, "n": 2},
    }


async def test_a_whole_payload_may_be_a_field(client, worker, heard):
    async with worker(bad=bad, hear=heard):
        await client.enqueue("bad", then=[JobRequest("hear", {"$job": "error"}, on="failed")])

        assert await heard.next() == {"type": "Permanent", "message": "no such house"}


@pytest.mark.parametrize("ms", [0, 951_782_400_000, 1_709_164_800_123, 4_107_542_399_999, 221_845_132_799_999])
async def test_times_are_as_they_are_elsewhere(client, worker, heard, redis, settings, ms):
    async with worker(slow=slow, hear=heard):
        follow = [JobRequest("hear", {"$job": "created_at"}, on="cancelled")]
        job = await client.enqueue("slow", delay=600, then=follow)
        await redis.hset(record_key(settings, job.id), "created", ms)
        await client.cancel(job.id)

        shown = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        assert await heard.next() == f"{shown}.{ms % 1000:03}Z"


async def test_a_job_that_is_run_again_and_fails_again_tells_again(client, worker, heard):
    async with worker(bad=bad, hear=heard):
        then = [JobRequest("hear", {"$job": "status"}, on="failed", then=[JobRequest("hear", "nested")])]
        job = await client.enqueue("bad", then=then)
        assert [await heard.next(), await heard.next()] == ["failed", "nested"]
        await client.wait(job, 10)
        await client.retry(job.id)
        assert [await heard.next(), await heard.next()] == ["failed", "nested"]
        done = await client.wait(job, 10)
        jobs = [await client.get(child) for child in done.children]

    assert [child.type for child in jobs] == ["hear", "hear"]
    assert len({child.id for child in jobs}) == 2


async def test_what_will_start_is_shown_until_it_has(client, worker, heard):
    await deploy(client, good=good, hear=heard)
    job = await client.enqueue("good", then=hears("failed", "settled"))
    before = await client.get(job.id)
    listed = (await client.page()).jobs[0]

    async with worker(good=good, hear=heard):
        done = await client.wait(job, 10)

    assert [(f["type"], f["on"]) for f in before.then] == [("hear", ["failed"]), ("hear", ["settled"])]
    assert listed.then == before.then
    assert (done.then, done.children) == ([], [before.then[1]["id"]])


@pytest.mark.parametrize("wanted", ["secret", [], ["id", "id"], ["id", 1], 7, None, {}])
async def test_a_field_that_no_job_has_is_refused(client, heard, wanted):
    await deploy(client, hear=heard)

    with pytest.raises(JobInvalid, match=r"\$job"):
        await client.enqueue("hear", then=[JobRequest("hear", [{"$job": wanted}])])


async def test_on_is_for_follow_ups_and_names_a_status(client, heard):
    await deploy(client, hear=heard)

    with pytest.raises(JobInvalid, match="in `then`"):
        await client.enqueue("hear", on="failed")
    with pytest.raises(JobInvalid, match="completed, failed, cancelled, settled"):
        await client.enqueue("hear", then=[JobRequest("hear", on="running")])


async def test_an_attempt_s_children_may_have_such_follow_ups(client, worker, heard):
    async def parent(ctx: Context) -> None:
        ctx.enqueue("bad", {"n": 7}, then=[JobRequest("hear", {"$job": ["payload", "status"]}, on="settled")])

    async with worker(parent=parent, bad=bad, hear=heard):
        await client.enqueue("parent")

        assert await heard.next() == {"payload": {"n": 7}, "status": "failed"}


# destinations: what a function's policy says


async def test_a_function_s_destinations_get_its_settled_jobs(client, worker, heard):
    @function(on_success="hear", on_failure="hear")
    async def fragile(n: int) -> int:
        if n == 0:
            raise Permanent("nothing")
        return n

    async with worker(fragile=fragile, hear=heard):
        (one,) = await client.enqueue_many("fragile", [{"n": 5}])
        good_one = (await heard.next())["job"]
        other = await client.enqueue("fragile", {"n": 0})
        bad_one = (await heard.next())["job"]

    assert (good_one["id"], good_one["status"], good_one["result"]) == (one, "completed", 5)
    assert (bad_one["id"], bad_one["payload"]) == (other.id, {"n": 0})
    assert bad_one["error"] == {"type": "Permanent", "message": "nothing"}


async def test_a_destination_that_names_itself_does_not_go_on_for_ever(client, worker):
    @function(on_failure="mourn")
    async def mourn(payload) -> None:
        raise Permanent("too sad")

    async with worker(mourn=mourn):
        job = await client.enqueue("mourn", {"n": 1})
        done = await client.wait(job, 10)
        last = await client.wait(done.children[0], 10)

    assert (last.status, last.children) == ("failed", [])


async def test_a_destination_that_no_worker_has_keeps_no_job_from_running(client, worker):
    @function(on_success="archive")
    async def work() -> None: ...

    async with worker(work=work):
        job = await client.enqueue("work")
        done = await client.wait(job, 10)
        waiting = await client.get(done.children[0])

    assert (waiting.type, waiting.status) == ("archive", "pending")
    assert waiting.payload["job"]["id"] == job.id


def test_a_destination_is_the_name_of_a_function(settings):
    with pytest.raises(FunctionInvalid, match="on_failure"):
        function(on_failure="No Such!")
    named = function(on_failure="notify")(good)
    published = describe("good", catalogue(good=named).functions["good"], settings)
    assert published.on_failure == "notify"


async def test_a_destination_that_no_worker_has_is_told_of(client, http):
    await deploy(client, lonely=function(on_failure="nobody")(good))

    (shown,) = (await http.get("/functions")).json()["functions"]

    assert shown["on_failure"] == "nobody"
    assert (await http.get("/functions/lonely")).status_code == 200


async def test_what_a_job_starts_again_and_again_has_ids_of_its_own(client, worker, heard):
    """Five copies of a follow-up whose own follow-ups start at once, in one call."""
    await deploy(client, bad=bad, slow=slow, hear=heard)
    nested = [JobRequest("hear", n, on="cancelled") for n in range(2)]
    job = await client.enqueue("bad", then=[JobRequest("slow", delay=600, on="failed", then=nested)])
    async with worker(bad=bad):
        for _ in range(5):
            await client.wait(job, 10)
            await client.retry(job.id)
        done = await client.wait(job, 10)
    async with worker(hear=heard):
        await client.clear("slow", "scheduled", 5)
        got = [await heard.next() for _ in range(12)]
        started = [child for own in done.children for child in (await client.get(own)).children]

    assert sorted(got) == [0] * 6 + [1] * 6
    assert len(set(done.children)) == 6
    assert len(set(started)) == 12


async def test_a_follow_up_whose_first_run_is_forgotten_has_a_new_id_all_the_same(
    client, worker, heard, redis, settings
):
    async with worker(bad=bad, hear=heard):
        job = await client.enqueue("bad", then=hears("failed"))
        await heard.next()
        (first,) = (await client.wait(job, 10)).children
        await redis.delete(record_key(settings, first))
        await client.retry(job.id)
        await heard.next()
        children = (await client.wait(job, 10)).children

    assert children[0] == first
    assert len(set(children)) == 2


async def test_a_payload_that_would_grow_beyond_its_bound_tells_sizes_in_place_of_large_fields(
    client, worker, heard
):
    big = "x" * 200_000

    async def large() -> str:
        return big

    async with worker(large=large, hear=heard):
        await client.enqueue("large", then=[JobRequest("hear", {"all": [{"$job": ["id", "result"]}] * 1000})])
        got = (await heard.next())["all"]

    assert len(got) == 1000
    assert {tuple(one["result"]) for one in got} == {("$omitted",)}
    assert got[0]["result"]["$omitted"] >= 200_000
    assert got[0]["id"]


@pytest.mark.parametrize(
    "then",
    [
        [JobRequest("hear", [{"$job": "id"}] * 1001)],
        [JobRequest("hear", {"$job": "id"}, unique="payload")],
        [JobRequest("keyed", {"customer": [{"$job": "result"}]})],
        [JobRequest("hear", then=[JobRequest("hear")] * 100)] * 10,
    ],
)
async def test_what_cannot_follow_is_refused(client, heard, then):
    @function(concurrency=1, concurrency_key="customer")
    async def keyed(customer: list) -> None: ...

    await deploy(client, hear=heard, keyed=keyed)

    with pytest.raises(JobInvalid):
        await client.enqueue("hear", then=then)


async def test_follow_ups_beyond_twenty_levels_are_refused_from_python_too(client, heard):
    await deploy(client, hear=heard)
    request = JobRequest("hear")
    for _ in range(500):
        request = JobRequest("hear", then=[request])

    with pytest.raises(JobInvalid, match="20 jobs deep"):
        await client.enqueue("hear", then=[request])


async def test_a_destination_with_a_unique_key_is_told_of_each_job(client, worker, heard):
    got = heard

    @function(unique="one")
    async def notify(job: dict) -> None:
        await got(job["id"])

    failing = function(on_failure="notify")(bad)
    async with worker(bad=failing):
        await deploy(client, notify=notify)
        jobs = [await client.enqueue("bad") for _ in range(3)]
        for job in jobs:
            await client.wait(job, 10)
    async with worker(notify=notify):
        told = {await heard.next() for _ in jobs}

    assert told == {job.id for job in jobs}


def test_a_built_in_function_is_no_destination():
    with pytest.raises(FunctionInvalid, match="on_success"):
        function(on_success="job_callback")


async def test_a_payload_that_is_filled_in_deeper_than_json_goes_breaks_no_page(client, http, worker):
    def nested(value):
        for _ in range(200):
            value = [value]
        return value

    async def echo(payload) -> None: ...

    async with worker(echo=echo):
        follow_up = JobRequest("echo", nested({"$job": ["payload", "id"]}))
        job = await client.enqueue("echo", nested(1), then=[follow_up])
        done = await client.wait(job, 10)
        child = await client.wait(done.children[0], 10)
    listed = await http.get("/jobs")
    shown = await http.get(f"/jobs/{child.id}")

    assert (listed.status_code, len(listed.json()["jobs"])) == (200, 2)
    assert shown.status_code == 200
    assert child.settled
