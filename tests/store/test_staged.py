"""Jobs that wait in parts for the attempt that starts them."""

import pytest

from runtime.store.attempts import Settlement
from runtime.store.rows import NewJob
from runtime.values import codec, ids


def part(*numbers):
    return [NewJob(ids.new_id(), "f", "low", codec.pack(n), 1) for n in numbers]


async def payloads(store):
    return sorted(job.payload for job in (await store.newest_jobs.page(limit=100)).jobs if job.lane == "low")


async def complete(lanes, taken, staged, after=None):
    (end,) = await lanes.settle([Settlement(taken, "completed", b"\xc0", after=after, staged=staged)])
    return end


@pytest.fixture
async def parent(store):
    await store.enqueue()
    (taken,) = await store.take()
    return taken


async def test_staged_jobs_start_part_by_part_once_their_attempt_has_completed(store, parent):
    assert await store.a.stage(parent, 0, part(1, 2))
    assert await store.a.stage(parent, 1, part(3))
    assert await store.a.start(parent.id) == 0
    assert await payloads(store) == []

    assert await complete(store.a, parent, 2) == "ended"

    assert await store.a.start(parent.id) == 1
    assert await payloads(store) == [1, 2]
    assert await store.b.start(parent.id) == 0
    assert await store.b.start(parent.id) == 0
    assert await payloads(store) == [1, 2, 3]
    assert len((await store.jobs.get(parent.id)).children) == 3


async def test_a_part_that_is_sent_again_after_a_lost_answer_is_kept_once(store, parent):
    first, second = part(1), part(2)
    for number, jobs in ((0, first), (0, first), (1, second), (1, second)):
        assert await store.a.stage(parent, number, jobs)

    assert await complete(store.a, parent, 2) == "ended"


async def test_an_attempt_that_was_lost_stages_no_more_and_what_it_left_never_starts(store, parent):
    await store.a.stage(parent, 0, part(1))
    await store.a.stage(parent, 1, part(2))
    await store.lapse(parent)
    await store.reclaim()
    (again,) = await store.take(by=store.b)

    assert await store.b.stage(again, 0, part(10))
    assert not await store.a.stage(parent, 2, part(3))
    assert await complete(store.a, parent, 3) == "lost"
    assert await complete(store.b, again, 1) == "ended"

    assert await store.b.start(again.id) == 0
    assert await payloads(store) == [10]


async def test_an_attempt_whose_staged_jobs_are_gone_does_not_complete(store, parent):
    await store.a.stage(parent, 0, part(1))
    await store.client.delete(store.keys.staged(0, parent.id))

    assert not await store.a.stage(parent, 1, part(2))
    assert await complete(store.a, parent, 2) == "lost"
    assert (await store.jobs.get(parent.id)).status == "running"


async def test_what_follows_waits_for_parts_that_have_not_been_started(store, parent):
    (after,) = part(99)
    jobs = [job._replace(extras=codec.pack_batch({"join": parent.id})) for job in part(1, 2)]
    for number, job in enumerate(jobs):
        await store.a.stage(parent, number, [job])
    await complete(store.a, parent, 2, after)

    await store.a.start(parent.id)
    (first,) = await store.take()
    await store.settle(first)
    assert await payloads(store) == [1]  # of all that were started, all have settled

    await store.a.start(parent.id)
    (second,) = await store.take()
    await store.settle(second)
    assert await payloads(store) == [1, 2, 99]


async def test_a_sweep_tells_whose_jobs_wait_to_be_started(store, parent):
    await store.a.stage(parent, 0, part(1))
    assert (await store.b.reclaim([], 1000)).starting == []

    await complete(store.a, parent, 1)

    assert (await store.b.reclaim([], 1000)).starting == [parent.id]
    await store.b.start(parent.id)
    assert (await store.b.reclaim([], 1000)).starting == []
