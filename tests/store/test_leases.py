import asyncio


async def test_a_renewed_lease_does_not_run_out(store):
    await store.enqueue()
    (taken,) = await store.take()
    await store.lapse(taken)

    assert store.renew(taken) == []

    assert await store.reclaim() == []


async def test_a_lease_that_ran_out_hands_the_job_back_to_the_front(store):
    first, *_ = await store.enqueue(count=3)
    (taken,) = await store.take(1, by=store.a)
    await store.lapse(taken)

    (lost,) = await store.reclaim(by=store.b)

    assert (lost.id, lost.worker, lost.verdict) == (first, "worker-a", "retry")
    job = await store.jobs.get(first)
    assert job.status == "pending"
    assert job.attempts[0]["outcome"] == "lost"
    assert "worker-a was lost" in job.attempts[0]["error"]["message"]
    (again,) = await store.take(1, by=store.b)
    assert (again.id, again.attempt, again.tries) == (first, 2, 1)


async def test_renewing_what_another_took_over_tells_so_and_changes_nothing(store):
    await store.enqueue()
    (stale,) = await store.take(by=store.a)
    await store.lapse(stale)
    await store.reclaim()
    (fresh,) = await store.take(by=store.b)

    assert store.renew(stale, by=store.a) == [stale]
    assert store.renew(fresh, by=store.b) == []


async def test_a_job_that_keeps_killing_its_workers_fails_as_poison(store, settings):
    (job_id,) = await store.enqueue()
    for _ in range(settings.crash_limit):
        (taken,) = await store.take()
        await store.lapse(taken)
        (lost,) = await store.reclaim()

    assert lost.verdict == "poison"
    job = await store.jobs.get(job_id)
    assert (job.status, job.error["type"]) == ("failed", "Poison")
    assert "3 workers died running it" in job.error["message"]
    assert [a["outcome"] for a in job.attempts] == ["lost"] * 3
    assert await store.length() == 0
    assert await store.client.ttl(store.keys.job(0, job_id)) > 0


async def test_one_sweeper_works_at_a_time(store):
    await store.enqueue()

    swept = await asyncio.gather(store.reclaim(by=store.a), store.reclaim(by=store.b))

    assert sorted(swept, key=str) == [None, []] or sorted(swept, key=str) == [[], None]


async def test_more_lost_entries_than_one_sweep_scans_are_all_found(store):
    await store.enqueue(count=250)
    taken = await store.take(250)
    for one in taken:
        await store.lapse(one)

    found, cursor = 0, "0-0"
    for _ in range(5):
        (cursor,), lost, _ = await store.b.reclaim([("f", "normal", cursor)], 1000)
        found += len(lost)

    assert found == 250


async def test_the_sweeper_rings_for_work_that_nobody_heard_of(store, settings):
    await store.enqueue()
    await store.client.delete(store.keys.bell(0, "f"))  # heard by a worker that died before it took

    await store.reclaim()

    assert await store.client.exists(store.keys.bell(0, "f"))
