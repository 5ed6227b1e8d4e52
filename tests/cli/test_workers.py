"""`lanework worker --workers N`: several processes that are started, watched and stopped as one."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from runtime.cli import workers
from runtime.cli.supervised import Supervised
from tests.servers import free_port, missing, until

SLEEPS = (
    "import asyncio\nasync def handle(seconds: float = 0):\n    await asyncio.sleep(seconds)\n    return 'done'"
)
WAIT = 20


@pytest.fixture
def several(process, folder):
    """`several(3)` starts so many, with the modules that it is given."""

    def start(count, port=None, **modules):
        folder.write(**(modules or {"sleeps": SLEEPS}))
        options = ("--workers", str(count), "--functions-dir", str(folder.path), "--port", str(port or free_port()))
        return process("worker", *options, LOG_FORMAT="json", GRACE="5", LEASE="2")

    return start


def children(started):
    """The workers' processes."""
    every = psutil.Process(started.popen.pid).children()
    return [child for child in every if "worker" in child.cmdline()]


async def known(client, count):
    async with asyncio.timeout(WAIT):
        while len(found := await client.workers()) != count:
            await asyncio.sleep(0.02)
    return found


async def test_they_are_several_workers_with_one_port(several, client):
    port = free_port()
    several(3, port)

    found = await known(client, 3)
    jobs = [await client.enqueue("sleeps", {"seconds": 0}) for _ in range(30)]
    ended = [await client.wait(job, WAIT) for job in jobs]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        health = await http.get("/healthz")
        metrics = (await http.get("/metrics")).text

    assert {worker.metrics for worker in found} == {f"http://127.0.0.1:{port}/metrics"}
    assert {job.result for job in ended} == {"done"}
    assert health.json() == {"status": "ok"}
    settled = [line for line in metrics.splitlines() if line.startswith("lanework_attempts_settled_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in settled) == 30
    assert all(f'process="{number}"' in metrics for number in (1, 2, 3))
    promtool = shutil.which("promtool") or missing("promtool")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_one_that_is_killed_is_started_again_and_its_job_runs_elsewhere(several, client):
    port = free_port()
    started = several(2, port)
    await known(client, 2)
    jobs = [await client.enqueue("sleeps", {"seconds": 3}) for _ in range(8)]
    async with asyncio.timeout(WAIT):
        while sum(depth.running for depth in await client.depths()) < 8:
            await asyncio.sleep(0.02)

    victim = children(started)[0]
    victim.kill()
    ended = [await client.wait(job, WAIT) for job in jobs]

    assert {job.status for job in ended} == {"completed"}
    until(lambda: len(children(started)) == 2 and victim not in children(started), "another worker")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        async with asyncio.timeout(WAIT):
            while not (await http.get("/healthz")).is_success:
                await asyncio.sleep(0.05)
    assert started.said("process.died")


async def test_one_that_cannot_be_started_again_is_tried_later_and_the_others_go_on(several, client):
    started = several(2)
    await known(client, 2)
    supervisor = psutil.Process(started.popen.pid)
    limits = supervisor.rlimit(psutil.RLIMIT_NOFILE)

    supervisor.rlimit(psutil.RLIMIT_NOFILE, (4, limits[1]))
    children(started)[0].kill()
    started.await_said("process.unstarted")
    assert len(children(started)) == 1
    supervisor.rlimit(psutil.RLIMIT_NOFILE, limits)

    until(lambda: len(children(started)) == 2, "another worker")
    job = await client.wait(await client.enqueue("sleeps"), WAIT)
    assert job.result == "done"


async def test_a_second_signal_ends_them_all_at_once(several, client):
    started = several(2)
    await known(client, 2)
    own = children(started)
    own[0].suspend()

    started.popen.send_signal(signal.SIGTERM)
    started.await_said("worker.leaving")
    started.popen.send_signal(signal.SIGTERM)

    assert await asyncio.to_thread(started.popen.wait, WAIT) == 130
    until(lambda: not any(child.is_running() for child in own), "the workers' end")


async def test_they_drain_together(several, client):
    started = several(2)
    await known(client, 2)
    jobs = [await client.enqueue("sleeps", {"seconds": 1}) for _ in range(4)]
    async with asyncio.timeout(WAIT):
        while sum(depth.running for depth in await client.depths()) < 4:
            await asyncio.sleep(0.02)
    own = children(started)

    code = await asyncio.to_thread(started.stop)

    assert code == 0
    assert [(await client.get(job.id)).status for job in jobs] == ["completed"] * 4
    assert [child for child in own if child.is_running()] == []
    assert await client.workers() == []


async def test_workers_that_lose_their_supervisor_leave(several, client):
    started = several(2)
    await known(client, 2)
    own = children(started)

    os.kill(started.popen.pid, signal.SIGKILL)

    until(lambda: not any(child.is_running() for child in own), "the workers' end")
    assert await client.workers() == []


async def test_a_stop_while_a_process_is_being_made_ends_it_too():
    one = Supervised("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ))
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)

    await one.stop(WAIT)

    async with asyncio.timeout(WAIT):
        await running


@pytest.mark.parametrize("count", ["0", "-1", "many", "257", "1.5"])
def test_an_odd_count_is_refused(process, count):
    started = process("worker", f"--workers={count}")

    assert started.popen.wait(WAIT) == 3
    assert "--workers is a number from 1 to 256, or auto" in started.log.read_text()


def test_a_setting_that_no_worker_can_start_with_ends_them_all(process):
    started = process("worker", "--workers", "2", "--port", "0", "--functions", "nobody")

    assert started.popen.wait(WAIT) == 3
    assert "nobody" in started.log.read_text()


@pytest.mark.parametrize(
    ("quota", "cpus"), [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1), ("?", 8)]
)
def test_auto_is_one_a_cpu_that_the_container_may_use(monkeypatch, tmp_path, quota, cpus):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(workers, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))

    assert workers.cpus() == cpus
