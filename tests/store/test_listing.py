import pytest

from runtime.client import Lanework
from runtime.store.pages import Wanted
from runtime.values.clock import now_ms
from tests.conftest import deploy


async def listed(store, **query):
    ids, cursor = [], None
    type, status = query.pop("type", None), query.pop("status", None)
    query["wanted"] = Wanted(lambda own: type in (None, own), status)
    for _ in range(100):
        page = await store.newest_jobs.page(cursor=cursor, **{"limit": 3, **query})
        ids += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            return ids
    raise AssertionError("the list has no end")


async def test_jobs_are_listed_newest_first_page_by_page(store):
    ids = [(await store.enqueue())[0] for _ in range(8)]

    assert await listed(store) == ids[::-1]


async def test_a_list_may_be_of_one_function_or_one_status(store):
    f, g = (await store.enqueue("f"))[0], (await store.enqueue("g"))[0]
    (taken,) = await store.take(1, "g")
    await store.settle(taken)

    assert await listed(store, type="f") == [f]
    assert await listed(store, status="completed") == [g]
    assert await listed(store, status="failed") == []


async def test_a_job_whose_record_has_expired_is_not_listed(store):
    gone, here = await store.enqueue(count=2)
    await store.client.delete(store.keys.job(0, gone))

    assert await listed(store) == [here]


async def test_many_jobs_that_do_not_fit_do_not_end_the_list(store):
    (wanted,) = await store.enqueue("rare")
    await store.enqueue("common", count=1200)

    assert await listed(store, type="rare") == [wanted]


@pytest.mark.parametrize("cursor", ["x", "1", "1-1,1-1", "1-x", "", "*"])
async def test_a_cursor_that_was_not_given_here_is_refused(store, cursor):
    with pytest.raises(ValueError, match="cursor"):
        await store.newest_jobs.page(limit=3, cursor=cursor)


async def test_jobs_of_all_shards_are_merged(store, settings, redis):
    from runtime.store.jobs import Jobs
    from runtime.store.newest_jobs import NewestJobs
    from runtime.store.rows import NewJob
    from runtime.values.shards import Shards

    three = settings.model_copy(update={"shards": 3})
    sharded = Jobs(redis, three)
    shards = Shards(3)
    made = [NewJob(shards.new_id(), "f", "normal", b"\xc0", 3) for _ in range(9)]
    await sharded.enqueue(made)
    store.newest_jobs = NewestJobs(redis, three, sharded)

    assert sorted(await listed(store, limit=4)) == sorted(job.id for job in made)


@pytest.mark.parametrize("shards", [1, 3])
async def test_jobs_that_wait_for_the_same_time_are_listed_once_each(client, settings, shards):
    async def f() -> None: ...

    async with Lanework(
        settings.model_copy(update={"shards": shards, "prefix": f"{settings.prefix}-{shards}"})
    ) as some:
        await deploy(some, f=f)
        at = now_ms() + 3_600_000
        same = [(await some.enqueue("f", run_at=at)).id for _ in range(7)]
        first, last = (await some.enqueue("f", run_at=at - 1)).id, (await some.enqueue("f", run_at=at + 1)).id

        found, cursor = [], None
        while True:
            page = await some.page(limit=2, cursor=cursor, status="scheduled")
            found += [job.id for job in page.jobs]
            if (cursor := page.cursor) is None:
                break

    assert found == [first, *sorted(same), last]


@pytest.mark.parametrize("cursor", ["due-0", "due-1-x", "due--1-01890000-0000-7000-8000-000000000000", "1-1"])
async def test_a_cursor_of_scheduled_jobs_that_was_not_given_here_is_refused(store, cursor):
    with pytest.raises(ValueError, match="cursor"):
        await store.scheduled_jobs.page(limit=1, cursor=cursor)


async def test_a_job_that_settles_while_it_is_listed_is_shown_with_its_result(store, monkeypatch):
    (job_id,) = await store.enqueue()
    (taken,) = await store.take()
    look = store.jobs._looks

    async def look_and_settle(wanted):
        looks = await look(wanted)
        await store.settle(taken, value="done")
        return looks

    monkeypatch.setattr(store.jobs, "_looks", look_and_settle)
    (job,) = (await store.jobs.listed([job_id])).jobs

    assert (job.status, job.result) == ("completed", "done")
