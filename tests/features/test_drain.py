"""Workers that leave: unstarted work goes back at once, running work finishes, the rest is handed back."""

import asyncio
import json

import pytest

from runtime.values.clock import now_ms
from runtime.worker.upkeep.ticker import Ticker
from runtime.worker.worker import Worker
from tests.conftest import catalogue

WAIT = 30

SLOW = """
import asyncio
from pathlib import Path

async def handle(n: int, marks: str, ms: int = 30) -> int:
    with open(marks, "a") as file:
        file.write(f"{n}\\n")
    await asyncio.sleep(ms / 1000)
    return n
"""


async def test_rolling_five_workers_under_load_loses_nothing_and_runs_nothing_twice(
    client, process, tmp_path, until, settings
):
    place, marks = tmp_path / "functions", tmp_path / "marks"
    place.mkdir()
    marks.touch()
    (place / "slow.py").write_text(SLOW)

    def start():
        return process("worker", "--functions-dir", str(place), "--concurrency", "10")

    workers = [start() for _ in range(5)]
    for one in workers:
        one.await_said("worker.started")
    ids = await client.enqueue_many("slow", [{"n": n, "marks": str(marks)} for n in range(3000)])
    for one in workers:
        fresh = start()
        await asyncio.to_thread(fresh.await_said, "worker.started")
        assert await asyncio.to_thread(one.stop) == 0
    done = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {(job.status, job.attempt) for job in done} == {("completed", 1)}
    assert sorted(map(int, marks.read_text().split())) == list(range(3000))


async def test_a_leaving_worker_says_how_many_finished_and_how_many_it_handed_back(
    client, process, tmp_path, until
):
    place, marks = tmp_path / "functions", tmp_path / "marks"
    place.mkdir()
    marks.touch()
    (place / "slow.py").write_text(SLOW)
    leaving = process("worker", "--functions-dir", str(place), GRACE="1", LOG_FORMAT="json")
    leaving.await_said("worker.started")
    short = await client.enqueue_many("slow", [{"n": n, "marks": str(marks), "ms": 500} for n in range(3)])
    long = await client.enqueue_many("slow", [{"n": n, "marks": str(marks), "ms": 60_000} for n in range(2)])
    until(lambda: len(marks.read_text().split()) == 5, "all started")

    asked = now_ms()
    assert leaving.stop() == 0

    (left,) = [json.loads(line) for line in leaving.log.read_text().splitlines() if '"worker.left"' in line]
    assert (left["finished"], left["released"], left["unsettled"]) == (3, 2, 0)
    assert now_ms() - asked < 5000
    assert {(await client.get(job_id)).status for job_id in short} == {"completed"}
    for job_id in long:
        job = await client.get(job_id)
        assert (job.status, [a["outcome"] for a in job.attempts]) == ("pending", ["released"])


async def test_a_role_that_fails_ends_its_worker_and_costs_no_attempt(client, settings, monkeypatch):
    started = asyncio.Event()

    async def f() -> None:
        started.set()
        await asyncio.Event().wait()

    async def fail(_: Ticker) -> float:
        await started.wait()
        raise RuntimeError("a fault of the runtime's own")

    monkeypatch.setattr(Ticker, "step", fail)
    one = Worker(settings, catalogue(f=f))
    running = asyncio.create_task(one.run())
    await asyncio.wait_for(one.started.wait(), WAIT)
    job = await client.enqueue("f", max_attempts=1)

    with pytest.raises(RuntimeError, match="own"):
        await asyncio.wait_for(running, WAIT)

    job = await client.get(job.id)
    assert (job.status, [attempt["outcome"] for attempt in job.attempts]) == ("pending", ["released"])


async def test_a_worker_whose_task_is_cancelled_leaves_nothing_behind(client, settings):
    async def f() -> None: ...

    before = asyncio.all_tasks()
    one = Worker(settings, catalogue(f=f))
    running = asyncio.create_task(one.run())
    await asyncio.wait_for(one.started.wait(), WAIT)

    running.cancel()
    await asyncio.wait([running], timeout=WAIT)

    assert asyncio.all_tasks() - before == set()
    assert one.id not in {worker.id for worker in await client.workers()}
