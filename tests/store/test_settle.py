from runtime.store.attempts import Settlement
from runtime.values import codec


async def test_a_completed_job_keeps_its_result_for_a_day_and_leaves_its_lane(store):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()

    assert await store.settle(taken, value={"ok": True})

    job = await store.jobs.get(job_id)
    assert (job.status, job.result, job.attempts[0]["outcome"]) == ("completed", {"ok": True}, "completed")
    assert await store.length() == 0
    assert 86_000 < await store.client.ttl(store.keys.job(0, job_id)) <= 86_400


async def test_a_failed_job_keeps_its_error(store):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()

    await store.settle(taken, "failed", value={"type": "ValueError", "message": "no", "traceback": None})

    job = await store.jobs.get(job_id)
    assert (job.status, job.error["type"], job.attempts[0]["error"]["type"]) == (
        "failed",
        "ValueError",
        "ValueError",
    )
    assert await store.client.ttl(store.keys.job(0, job_id)) > 0


async def test_a_retry_waits_in_the_due_set_and_shows_what_happened(store):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()

    await store.settle(taken, "retry", value={"type": "OSError", "message": "away"}, delay=30_000)

    job = await store.jobs.get(job_id)
    assert (job.status, job.attempt, job.error["type"]) == ("scheduled", 1, "OSError")
    assert job.run_at - job.updated_at == 30_000
    assert [(a["attempt"], a["outcome"], a["error"]["type"]) for a in job.attempts] == [(1, "retry", "OSError")]
    assert await store.length() == 0


async def test_a_retry_that_succeeds_keeps_the_history_and_clears_the_error(store):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()
    await store.settle(taken, "retry", value={"type": "OSError", "message": "away"})
    (again,) = await store.take()

    await store.settle(again, value=7)

    job = await store.jobs.get(job_id)
    assert (job.status, job.result, job.error, job.run_at) == ("completed", 7, None, None)
    assert [a["outcome"] for a in job.attempts] == ["retry", "completed"]


async def test_a_stale_attempt_changes_nothing_and_is_told_so(store):
    (job_id,) = await store.enqueue()
    (stale,) = await store.take(by=store.a)
    await store.lapse(stale)
    await store.reclaim()
    (fresh,) = await store.take(by=store.b)

    assert not await store.settle(stale, by=store.a, value="stale")
    assert (await store.jobs.get(job_id)).status == "running"

    assert await store.settle(fresh, by=store.b, value="fresh")
    assert not await store.settle(stale, by=store.a, value="stale")
    assert (await store.jobs.get(job_id)).result == "fresh"


async def test_an_attempt_ends_once(store):
    await store.enqueue()
    (taken,) = await store.take()

    assert await store.settle(taken, value=1)
    assert not await store.settle(taken, "failed", value={"type": "x", "message": ""})


async def test_a_released_job_is_the_first_to_be_taken_and_pays_no_attempt(store):
    first, *_ = await store.enqueue(count=3)
    (taken,) = await store.take(1)

    await store.settle(taken, "released")

    assert (await store.jobs.get(first)).status == "pending"
    (again, _) = await store.take(2, by=store.b)
    assert (again.id, again.attempt, again.tries) == (first, 2, 1)
    assert await store.length() == 3


async def test_one_batch_may_end_attempts_of_many_lanes_in_many_ways(store):
    for lane in ("low", "high"):
        await store.enqueue("f", lane, 2)
    taken = await store.take(10)
    error = codec.pack({"type": "E", "message": "m"})
    ends = [("completed", codec.pack(None)), ("failed", error), ("retry", error), ("released", b"")]

    replies = await store.a.settle([Settlement(t, o, v, 5000) for t, (o, v) in zip(taken, ends, strict=True)])

    assert replies == ["ended"] * 4
    found = [(await store.jobs.get(t.id)).status for t in taken]
    assert found == ["completed", "failed", "scheduled", "pending"]
