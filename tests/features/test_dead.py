"""Failed jobs: looking at them, running them again, deleting them."""

import itertools

import pytest

from runtime import Permanent, function
from runtime.errors import StatusConflict
from tests.conftest import deploy, looking, record_key

WAIT = 15


def moody():
    """A handler that fails until told to be well."""
    state = {"well": False}

    @function(retry=1)
    async def handle(n: int = 0) -> str:
        if not state["well"]:
            raise Permanent(f"bad day {n}")
        return f"well {n}"

    return handle, state


async def failed(client, count=1, type="f"):
    ids = await client.enqueue_many(type, [{"n": n} for n in range(count)])
    jobs = [await client.wait(job_id, WAIT) for job_id in ids]
    assert {job.status for job in jobs} == {"failed"}
    return ids


async def test_failed_jobs_are_listed_by_function_the_newest_first(client, worker):
    handle, _ = moody()
    async with worker(f=handle, g=handle):
        ids = [(await failed(client))[0] for _ in range(3)]
        await failed(client, type="g")

    assert [job.id for job in (await client.dead("f", limit=10)).jobs] == ids[::-1]
    assert [job.id for job in (await client.dead("f", limit=1, offset=1)).jobs] == [ids[1]]
    assert await client.dead_counts(["f", "g", "none"]) == {"f": 3, "g": 1, "none": 0}


async def test_a_failed_job_runs_again_with_its_id_and_history(client, worker):
    handle, state = moody()
    async with worker(f=handle):
        (job_id,) = await failed(client)
        await client.retry(job_id)
        again = await client.wait(job_id, WAIT)
        state["well"] = True
        await client.retry(job_id)
        done = await client.wait(job_id, WAIT)

    assert again.status == "failed"
    assert (done.id, done.status, done.result, done.error) == (job_id, "completed", "well 0", None)
    assert [(a["attempt"], a["outcome"]) for a in done.attempts] == [(1, "failed"), (2, "failed"), (3, "completed")]
    assert done.attempts[0]["error"]["message"] == "bad day 0"
    assert await client.dead_counts(["f"]) == {"f": 0}


async def test_a_replayed_job_has_all_its_attempts_again(client, worker):
    @function(retry=2)
    async def f() -> None:
        raise ValueError("no")

    async with worker(f=f):
        job = await client.enqueue("f", backoff=0)
        await client.wait(job.id, WAIT)
        await client.retry(job.id)
        done = await client.wait(job.id, WAIT)

    assert [a["outcome"] for a in done.attempts] == ["retry", "failed", "retry", "failed"]


async def test_only_a_failed_job_runs_again(client):
    await deploy(client, f=moody()[0])
    job = await client.enqueue("f")

    with pytest.raises(StatusConflict, match="pending"):
        await client.retry(job.id)


async def test_some_failed_jobs_run_again_by_a_filter(client, worker):
    handle, state = moody()
    async with worker(f=handle):
        ids = await failed(client, 12)
        state["well"] = True
        replayed = await client.replay("f", lambda job: "bad day 1" in job.error["message"])
        done = [await client.wait(ids[n], WAIT) for n in (1, 10, 11)]

    assert replayed == 3
    assert [job.result for job in done] == ["well 1", "well 10", "well 11"]
    assert await client.dead_counts(["f"]) == {"f": 9}


async def test_all_failed_jobs_run_again_at_a_rate(client, worker):
    handle, state = moody()
    async with worker(f=handle):
        ids = await failed(client, 5)
        state["well"] = True
        assert await client.replay("f", lambda _: True, every=0.1) == 5
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    starts = sorted(job.started_at for job in done)
    assert all(80 < later - earlier < 250 for earlier, later in itertools.pairwise(starts))


async def test_failed_jobs_can_be_purged(client, worker):
    handle, _ = moody()
    async with worker(f=handle):
        ids = await failed(client, 3)

    assert await client.purge("f", lambda job: job.id != ids[0]) == 2
    assert [job.id for job in (await client.dead("f", limit=10)).jobs] == [ids[0]]


@pytest.mark.one_shard
async def test_failed_jobs_are_bounded_by_count(client, worker, settings):
    handle, _ = moody()
    async with worker(settings.model_copy(update={"dead_limit": 3}), f=handle):
        for _ in range(5):
            (last,) = await failed(client)

    assert await client.dead_counts(["f"]) == {"f": 3}
    assert (await client.dead("f", limit=1)).jobs[0].id == last


async def test_a_failed_job_is_kept_for_longer_than_its_result_would_be(client, worker, settings):
    handle, _ = moody()
    async with worker(f=handle):
        (job_id,) = await failed(client)
    async with looking(settings) as redis:
        left = await redis.ttl(record_key(settings, job_id))

    assert 6 * 86_400 < left <= 7 * 86_400
