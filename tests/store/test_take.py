import asyncio
from collections import Counter

import pytest

from runtime.store.attempts import Offer


async def test_first_in_is_first_out(store):
    ids = await store.enqueue(count=3)

    assert [t.id for t in await store.take(2)] == ids[:2]
    assert [t.id for t in await store.take(2)] == ids[2:]


async def test_higher_lanes_are_emptied_first(store):
    low, normal, high = [(await store.enqueue(lane=lane))[0] for lane in ("low", "normal", "high")]

    assert [t.id for t in await store.take(2)] == [high, normal]
    assert [t.id for t in await store.take(2)] == [low]


async def test_no_more_is_taken_than_there_are_free_slots(store):
    for lane in ("low", "normal", "high"):
        await store.enqueue(lane=lane, count=10)

    taken = await store.take(12)

    assert [t.lane for t in taken] == ["high"] * 10 + ["normal"] * 2


async def test_functions_of_one_lane_take_turns(store):
    await store.enqueue("busy", count=1000)
    await store.take(10, "busy", "rare")
    (rare,) = await store.enqueue("rare")

    taken = await store.take(10, "busy", "rare")

    assert taken[0].id == rare
    assert len(taken) == 10


async def test_a_function_that_keeps_its_lane_full_does_not_keep_its_turn(store):
    await store.enqueue("a", count=100)
    await store.enqueue("b", count=100)

    turns = [(await store.take(1, "a", "b"))[0].type for _ in range(4)]

    assert turns in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


async def test_functions_that_keep_their_lane_full_share_a_take(store):
    for name in ("a", "b"):
        await store.enqueue(name, count=101)
        await store.take(1, name)  # a function is served alone until it has its group

    took = [Counter(t.type for t in await store.take(10, "a", "b")) for _ in range(4)]

    assert took == [{"a": 5, "b": 5}] * 4


async def test_functions_without_a_group_are_served_in_turn(store):
    for name in ("a", "b", "c"):
        await store.enqueue(name, count=100)

    turns = [{t.type for t in await store.take(10, "a", "b", "c")} for _ in range(3)]

    assert turns == [{"a"}, {"b"}, {"c"}]


async def test_a_take_reads_many_functions_and_all_of_each(store):
    for name, count in (("a", 1), ("b", 7), ("c", 40), ("d", 2)):
        await store.enqueue(name, count=count)

    took = Counter(t.type for t in await store.take(100, "a", "b", "c", "d"))

    assert took == {"a": 1, "b": 7, "c": 40, "d": 2}
    assert await store.take(100, "a", "b", "c", "d") == []


async def test_no_more_than_the_free_slots_is_taken_of_many_functions(store):
    names = [f"f{n}" for n in range(50)]
    for name in names:
        await store.enqueue(name, count=3)

    sizes = [len(await store.take(7, *names)) for _ in range(22)]

    assert sizes == [7] * 21 + [3]


async def test_a_worker_takes_only_functions_that_it_has(store):
    await store.enqueue("other", count=40)
    (mine,) = await store.enqueue("f")

    assert [t.id for t in await store.take(10, "f")] == [mine]
    assert await store.length("other") == 40


async def test_a_taken_job_runs_with_a_fresh_attempt(store):
    (job_id,) = await store.enqueue()

    (taken,) = await store.take()

    job = await store.jobs.get(job_id)
    assert (taken.attempt, job.attempt, job.status) == (1, 1, "running")
    assert job.attempts[0]["worker"] == "worker-a"
    assert job.started_at == taken.started_at


async def test_no_two_workers_take_the_same_job(store):
    await store.enqueue(count=200)

    batches = await asyncio.gather(*(store.take(7, by=by) for _ in range(20) for by in (store.a, store.b)))

    ids = [t.id for batch in batches for t in batch]
    assert len(ids) == len(set(ids)) == 200


async def test_an_empty_take_tells_when_the_next_job_is_due(store):
    await store.enqueue()
    (taken,) = await store.take()
    await store.settle(taken, "retry", delay=60_000)

    took = await store.a.take(1, Offer({"f": ""}))

    assert took.jobs == []
    assert 59_000 < took.due_in <= 60_000


async def test_a_job_that_is_due_is_taken(store):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()
    await store.settle(taken, "retry", delay=0)

    (again,) = await store.take()

    assert (again.id, again.attempt) == (job_id, 2)


async def test_a_group_that_was_destroyed_comes_back(store):
    (job_id,) = await store.enqueue()
    await store.enqueue("g")
    await store.take(1, "g")
    await store.client.xgroup_destroy(store.keys.lane(0, "g", "normal"), "lw")

    assert [t.id for t in await store.take(5, "f", "g")] == [job_id]


async def test_an_entry_whose_record_is_gone_is_dropped(store):
    (job_id,) = await store.enqueue()
    await store.client.delete(store.keys.job(0, job_id))

    assert await store.take() == []
    assert await store.length() == 0


async def test_scripts_survive_a_flush_of_the_script_cache(store):
    await store.enqueue()
    await store.client.script_flush()

    (taken,) = await store.take()

    assert await store.settle(taken)


@pytest.mark.parametrize("idle", [1, 3])
async def test_one_new_job_wakes_one_idle_worker(store, settings, idle):
    from runtime.store.connect import opened

    async with opened(settings, timeout=None) as blocking:
        waiting = [asyncio.create_task(store.a.hear(blocking, ["f", "g"], 5)) for _ in range(idle)]
        while int((await store.client.info("clients"))["blocked_clients"]) < idle:
            await asyncio.sleep(0)
        await store.enqueue("g")
        done, asleep = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await store.client.ping()

        assert [task.result() for task in done] == [True]
        assert not any(task.done() for task in asleep)
        for task in asleep:
            task.cancel()
        await asyncio.gather(*asleep, return_exceptions=True)


async def test_a_worker_without_room_for_all_rings_for_the_next(store, settings):
    from runtime.store.connect import opened

    async with opened(settings, timeout=None) as blocking:
        await store.enqueue(count=10)
        assert await store.a.hear(blocking, ["f"], 5)

        await store.take(4)

        assert await store.b.hear(blocking, ["f"], 5)


async def test_a_reply_has_some_4_mib_at_most_and_the_rest_comes_next_in_its_order(store):
    names = [f"f{n}" for n in range(16)]
    ids = [job for name in names for job in await store.enqueue(name, count=1)]
    await store.take(16, *names)  # each has its group
    ids = {name: await store.enqueue(name, count=4, payload=b"x" * 1_000_000) for name in names}

    first = await store.take(100, *names)
    rest = [await store.take(100, *names) for _ in range(15)]

    assert len(first) == 5
    assert max(map(len, rest)) == 5
    took = [t for batch in (first, *rest) for t in batch]
    assert {name: [t.id for t in took if t.type == name] for name in names} == ids


async def test_a_worker_that_took_something_else_than_it_was_woken_for_wakes_another(store, redis):
    await store.take(1, "none")  # it lives
    await store.enqueue("f", count=2)
    await store.enqueue("g")
    f, g = store.keys.bell(0, "f"), store.keys.bell(0, "g")
    await redis.delete(f)

    took = await store.a.hear_and_take(redis, 1, Offer({"f": "", "g": ""}), 1.0)  # hears the bell of g

    assert [t.type for t in took.jobs] == ["f"]
    assert await redis.exists(f, g) == 2
