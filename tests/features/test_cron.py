"""Functions that run by a schedule."""

from datetime import datetime
from statistics import median
from zoneinfo import ZoneInfo

import pytest

from runtime import function
from runtime.errors import FunctionInvalid
from runtime.handlers.schedule import Schedule
from runtime.store.schedules import Schedules
from runtime.values.clock import now_ms
from tests.conftest import looking

BERLIN = ZoneInfo("Europe/Berlin")


@function(schedule="* * * * * *")
async def every_second() -> None: ...


def berlin(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def ticks(schedule, start, count):
    found, at = [], berlin(start)
    for _ in range(count):
        at = schedule.next(at)
        found.append(datetime.fromtimestamp(at / 1000, BERLIN).isoformat(timespec="minutes"))
    return found


async def test_each_tick_runs_once_however_many_workers_there_are(client, worker, settings):
    begun = now_ms()
    async with (
        worker(every_second=every_second),
        worker(every_second=every_second),
        worker(every_second=every_second),
    ):
        while not (jobs := (await client.page(type="every_second", status="completed")).jobs) or len(jobs) < 4:
            assert now_ms() - begun < 15_000
    jobs = (await client.page(type="every_second")).jobs

    seconds = [job.created_at // 1000 for job in jobs]
    assert len(set(seconds)) == len(seconds)
    assert max(seconds) - min(seconds) == len(seconds) - 1  # and none was left out
    assert median(job.created_at % 1000 for job in jobs) < 300  # ms late


async def test_a_tick_that_was_missed_runs_once_late_and_the_others_are_counted(client, worker, settings):
    @function(schedule="*/5 * * * *")
    async def f() -> None: ...

    async with looking(settings) as redis:
        schedules = Schedules(redis, settings)
        await schedules.tick("f", "*/5 * * * *|UTC", now_ms() - 3_600_000, 0, None)
        patient = settings.model_copy(update={"cron_grace": 300.0})
        async with worker(patient, f=f):
            while not (found := (await client.page(type="f", status="completed")).jobs):
                pass
        (past,) = await schedules.past("f", ["*/5 * * * *|UTC"])

    assert len(found) == 1
    assert past.job == found[0].id
    assert (past.skipped, past.ran % 300_000) == (11, 0)


async def test_a_tick_that_is_too_late_is_skipped_and_counted(client, worker, settings):
    @function(schedule="0 0 1 1 *")
    async def yearly() -> None: ...

    async with looking(settings) as redis:
        schedules = Schedules(redis, settings)
        await schedules.tick("yearly", "0 0 1 1 *|UTC", now_ms() - 2 * 366 * 86_400_000, 0, None)
        async with worker(yearly=yearly):
            while (past := (await schedules.past("yearly", ["0 0 1 1 *|UTC"]))[0]).skipped == 0:
                pass

    assert (past.skipped, past.ran) == (2, None)
    assert (await client.page(type="yearly")).jobs == []


async def test_a_new_schedule_has_missed_nothing(client, worker, settings):
    @function(schedule="0 0 1 1 *")
    async def yearly() -> None: ...

    async with looking(settings) as redis:
        schedules = Schedules(redis, settings)
        async with worker(yearly=yearly):
            while (past := (await schedules.past("yearly", ["0 0 1 1 *|UTC"]))[0]) is None:
                pass

    assert (past.skipped, past.ran) == (0, None)


def test_where_clocks_go_forward_a_time_that_does_not_exist_comes_just_after_the_gap():
    assert ticks(Schedule("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_where_clocks_go_back_a_time_that_comes_twice_ticks_once():
    assert ticks(Schedule("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00", 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


def test_an_interval_goes_on_through_both_changes():
    forward = ticks(Schedule("*/30 * * * *", "Europe/Berlin"), "2026-03-29T01:15", 3)
    back = ticks(Schedule("*/30 * * * *", "Europe/Berlin"), "2026-10-25T02:15", 4)

    assert forward == ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]
    assert back == [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_a_function_may_have_several_schedules():
    @function(schedule=["0 9 * * MON", "0 17 * * FRI"], timezone="Europe/Berlin")
    async def f() -> None: ...

    assert [s.cron for s in f.__lanework__.schedules] == ["0 9 * * MON", "0 17 * * FRI"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"schedule": "every day"}, "is not a schedule"),
        ({"schedule": "61 * * * *"}, "is not a schedule"),
        ({"schedule": "0 0 31 2 *"}, "is not a schedule"),
        ({"schedule": "* * * * *", "timezone": "Mars/Olympus"}, "is not a time zone"),
    ],
)
def test_a_wrong_schedule_is_refused(given, told):
    with pytest.raises(FunctionInvalid, match=told):
        function(**given)


def test_a_schedule_counts_what_was_missed_over_years():
    schedule = Schedule("* * * * *")
    now = 1_800_000_000_000 + 5_000

    last, before = schedule.missed(now - 366 * 86_400_000, now)

    assert (last, before) == (1_800_000_000_000, 999)


async def test_a_server_that_has_lost_its_data_ends_no_worker(client, worker, settings):
    async with worker(every_second=every_second) as one, looking(settings) as redis:
        while not (await client.page(type="every_second", status="completed")).jobs:
            assert one.trouble is None
        await redis.delete(f"{settings.prefix}:functions")
        before = now_ms()
        while not [job for job in (await client.page(type="every_second")).jobs if job.created_at > before + 3000]:
            assert one.trouble is None
            assert now_ms() - before < 15_000
