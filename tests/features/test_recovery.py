"""What happens when a worker dies, hangs, blocks or leaves."""

import asyncio
import os
import signal

import pytest

from runtime.values.clock import now_ms
from tests.conftest import deploy

WAIT = 30

SLOW = """
import asyncio, os
from pathlib import Path

async def handle(n: int, marks: str) -> int:
    with open(marks, "a") as file:
        file.write(f"{n} {os.getpid()}\\n")
    await asyncio.sleep(0.2)
    return n
"""


@pytest.fixture
def folder(tmp_path):
    def write(**modules):
        place = tmp_path / "functions"
        place.mkdir(exist_ok=True)
        for name, source in modules.items():
            (place / f"{name}.py").write_text(source)
        return str(place)

    return write


async def test_everything_that_a_killed_worker_held_runs_again_within_10_seconds(
    client, process, folder, tmp_path, until
):
    marks = tmp_path / "marks"
    marks.touch()
    place = folder(slow=SLOW)
    doomed = process("worker", "--functions-dir", place, "--concurrency", "20")
    doomed.await_said("worker.started")
    ids = await client.enqueue_many("slow", [{"n": n, "marks": str(marks)} for n in range(200)])
    until(lambda: len(marks.read_text().splitlines()) > 100, "half of the jobs started")

    doomed.popen.kill()
    killed = now_ms()
    process("worker", "--functions-dir", place, "--concurrency", "20")
    jobs = [await client.wait(job_id, WAIT) for job_id in ids]

    assert [job.status for job in jobs] == ["completed"] * 200
    again = [job for job in jobs if job.attempt > 1]
    assert 1 <= len(again) <= 40  # what ran, and what had ended but was not yet settled
    assert {job.attempts[0]["outcome"] for job in again} == {"lost"}
    assert all("did not renew its lease" in job.attempts[0]["error"]["message"] for job in again)
    assert max(job.started_at for job in again) - killed < 10_000


async def test_a_blocked_event_loop_keeps_its_lease(client, process, folder):
    place = folder(block="import time\nasync def handle(): time.sleep(2.5)")
    process("worker", "--functions-dir", place, LEASE="0.8").await_said("worker.started")

    done = await client.wait((await client.enqueue("block")).id, WAIT)

    assert (done.status, done.attempt) == ("completed", 1)


async def test_a_stopped_and_continued_worker_changes_nothing_that_another_took_over(
    client, process, folder, tmp_path, until
):
    marks = tmp_path / "marks"
    marks.touch()
    place = folder(slow=SLOW.replace("0.2", "1.0"))
    frozen = process("worker", "--functions-dir", place, LEASE="1")
    frozen.await_said("worker.started")
    job = await client.enqueue("slow", {"n": 1, "marks": str(marks)})
    until(lambda: marks.read_text(), "the job started")

    os.kill(frozen.popen.pid, signal.SIGSTOP)
    other = process("worker", "--functions-dir", place, LEASE="1")
    done = await client.wait(job.id, WAIT)
    os.kill(frozen.popen.pid, signal.SIGCONT)
    frozen.await_said("attempt.lost")

    assert (done.status, done.attempt) == ("completed", 2)
    assert [a["outcome"] for a in (await client.get(job.id)).attempts] == ["lost", "completed"]
    assert other.stop() == 0


async def test_sigterm_finishes_what_runs_and_leaves_the_rest_waiting(client, process, folder, tmp_path, until):
    marks = tmp_path / "marks"
    marks.touch()
    place = folder(slow=SLOW)
    leaving = process("worker", "--functions-dir", place, "--concurrency", "2")
    leaving.await_said("worker.started")
    ids = await client.enqueue_many("slow", [{"n": n, "marks": str(marks)} for n in range(10)])
    until(lambda: marks.read_text(), "a job started")

    assert leaving.stop() == 0

    states = [(await client.get(job_id)).status for job_id in ids]
    started = len(marks.read_text().splitlines())
    assert states.count("completed") == started
    assert states.count("pending") == 10 - started


async def test_what_does_not_finish_within_the_grace_is_handed_back_at_once(client, worker, settings):
    started = asyncio.Event()
    stays = True

    async def endless() -> str:
        started.set()
        if stays:
            await asyncio.Event().wait()
        return "done elsewhere"

    async with worker(settings.model_copy(update={"grace": 0.1}), endless=endless):
        job = await client.enqueue("endless")
        await asyncio.wait_for(started.wait(), WAIT)
    waiting = await client.get(job.id)
    stays = False
    async with worker(endless=endless):
        done = await client.wait(job.id, WAIT)

    assert (waiting.status, waiting.attempts[0]["outcome"]) == ("pending", "released")
    assert (done.status, done.result) == ("completed", "done elsewhere")


async def test_jobs_stored_while_no_worker_ran_are_run_by_the_next(client, worker):
    async def f() -> int:
        return 1

    await deploy(client, f=f)
    job = await client.enqueue("f")

    async with worker(f=f):
        assert (await client.wait(job.id, WAIT)).status == "completed"


async def test_a_worker_started_before_its_server_waits_for_it(settings, process, folder):
    place = folder(slow=SLOW)
    early = process("worker", "--functions-dir", place, REDIS_URL="redis://127.0.0.1:1")

    early.await_said("store.awaited")

    assert early.stop() == 0


async def test_two_workers_share_what_waits(client, worker, settings):
    async def f() -> None:
        await asyncio.sleep(0)

    two = settings.model_copy(update={"concurrency": 4})
    async with worker(two, f=f) as a, worker(two, f=f) as b:
        ids = await client.enqueue_many("f", [None] * 400)
        jobs = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {job.attempts[0]["worker"] for job in jobs} == {a.id, b.id}
    assert {len(job.attempts) for job in jobs} == {1}
