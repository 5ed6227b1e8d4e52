"""Figures of the past, by function and hour or day."""

from dataclasses import replace

import pytest

from runtime.history.figures import figures
from runtime.history.writer import Writer
from runtime.jobs.job import Job
from runtime.values import ids
from runtime.values.clock import rfc3339
from tests.conftest import serving

HOUR = 3_600_000
DAY = 24 * HOUR
MIDNIGHT = 1_790_035_200_000


def job(type, finished, *, run=10, wait=5, status="completed"):
    started = finished - run
    attempt = {
        "attempt": 1,
        "started_at": rfc3339(started),
        "ended_at": rfc3339(finished),
        "outcome": status,
        "worker": "w",
        "version": "v",
        "error": None,
    }
    made = Job(ids.new_id(), type, "normal", status, {}, started - wait, 3, 1, 1, attempts=[attempt])
    return replace(made, started_at=started, finished_at=finished, updated_at=finished)


@pytest.fixture
async def written(engine):
    """A hundred jobs of one hour that ran for 1 to 100 ms; one that failed in the next hour; one of another day."""
    hundred = [job("a", MIDNIGHT + 1000 + n, run=n, wait=2 * n) for n in range(1, 101)]
    others = [job("a", MIDNIGHT + HOUR, status="failed"), job("b", MIDNIGHT + DAY)]
    await Writer(engine).write([*hundred, *others])


async def test_by_hour(engine, written):
    first, second, third = await figures(engine, "hour", MIDNIGHT, MIDNIGHT + 2 * DAY, None)

    assert (first.function, first.since, first.counts) == ("a", MIDNIGHT, {"completed": 100})
    assert first.run == {50: 50, 95: 95, 99: 99}
    assert first.wait == {50: 100, 95: 190, 99: 198}
    assert (second.function, second.since, second.counts) == ("a", MIDNIGHT + HOUR, {"failed": 1})
    assert second.run == {50: 10, 95: 10, 99: 10}
    assert (third.function, third.since) == ("b", MIDNIGHT + DAY)


async def test_by_day_of_one_function_and_time(engine, written):
    (day,) = await figures(engine, "day", MIDNIGHT, MIDNIGHT + DAY, "a")

    assert (day.since, day.counts) == (MIDNIGHT, {"completed": 100, "failed": 1})
    assert await figures(engine, "day", MIDNIGHT + DAY, MIDNIGHT + 2 * DAY, "a") == []


async def test_over_http(engine, written, settings):
    async with serving(settings) as http:
        query = {"after": rfc3339(MIDNIGHT), "before": rfc3339(MIDNIGHT + DAY), "by": "day"}
        reply = (await http.get("/stats/history", params=query)).json()
        recent = await http.get("/stats/history")
        wrong = [
            (await http.get("/stats/history", params=query)).status_code
            for query in (
                {"by": "year"},
                {"after": "x"},
                {"by": "hour", "after": 0},
                {"else": 1},
                {"function": "a\0"},
            )
        ]

    assert reply["by"] == "day"
    assert reply["buckets"] == [
        {
            "function": "a",
            "since": rfc3339(MIDNIGHT),
            "completed": 100,
            "failed": 1,
            "cancelled": 0,
            "failure_rate": 0.0099,
            "wait_ms": {"p50": 100, "p95": 190, "p99": 198},
            "run_ms": {"p50": 50, "p95": 95, "p99": 99},
        }
    ]
    assert recent.json()["buckets"] == []
    assert wrong == [422, 422, 422, 422, 200]
