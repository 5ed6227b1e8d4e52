"""20,000 no-op jobs, results kept: ours with one worker process, the peers, and Redis alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from runtime import settings
from runtime.client import Lanework
from runtime.handlers.catalogue import discover
from runtime.store.connect import opened
from runtime.store.registry import Registry, describe
from tests.benchmarks import peers
from tests.benchmarks.machine import FUNCTIONS, HERE, WORK, Server, cpu_seconds, lanework, server, until

JOBS = 20_000
CONCURRENCY = 200


def measure() -> dict[str, float]:
    """Jobs a second from the first handler's start until every job is settled."""
    limits = {mode: _limit(mode) for mode in ("commands", "scripts")}
    ours, python, redis = _ours()
    figures = {"lanework jobs/s": ours}
    for name, rate in peers.drain(JOBS).items():
        figures |= {f"{name} jobs/s": rate, f"lanework / {name}": ours / rate}
    for mode, rate in limits.items():
        figures |= {f"redis alone, {mode}, jobs/s": rate, f"lanework / redis alone, {mode}": ours / rate}
    return figures | {"worker cores used": python, "redis cores used": redis}


def against(checkout: Path) -> dict[str, float]:
    """The same drain by the code of another checkout, in turn with ours."""
    other = "import json; from tests.benchmarks import drain; print(json.dumps(drain._ours()))"
    done = subprocess.run([sys.executable, "-c", other], cwd=checkout, capture_output=True, text=True, check=True)
    theirs, their_python, their_redis = json.loads(done.stdout)
    ours, python, redis = _ours()
    return {
        "here, jobs/s": ours,
        "there, jobs/s": theirs,
        "here / there": ours / theirs,
        "here, µs of Redis a job": redis / ours * 1e6,
        "there, µs of Redis a job": their_redis / theirs * 1e6,
        "here, µs of Python a job": python / ours * 1e6,
        "there, µs of Python a job": their_python / theirs * 1e6,
    }


def bulk_enqueue() -> dict[str, float]:
    """Through the Python client, by the thousand, one process."""
    with server() as one:
        rate = uvloop.run(_enqueue(one, JOBS * 2))
        limit = _limit("scripts", "enqueue_wall")
    return {"jobs/s": rate, "/ redis alone, scripts": rate / limit}


def _ours() -> tuple[float, float, float]:
    """Jobs a second, and the cores that the worker and Redis used."""
    with server() as one:
        return drained(one)


def drained(one: Server) -> tuple[float, float, float]:
    """The same on this server."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(_enqueue(one, JOBS))
        mark = Path(folder) / "first"
        key = "lw:{0}:q:noop:normal"
        asked = ("--concurrency", str(CONCURRENCY), "--functions", "noop")
        with lanework(one, "worker", *asked, mark=str(mark)) as worker:
            until(lambda: mark.exists() and mark.read_text(), "first job", pause=0.001)
            cpu = cpu_seconds(worker.pid), cpu_seconds(one.pid)
            until(lambda: one.client.xlen(key) == 0, "end of the drain")
            took = (time.monotonic_ns() - int(mark.read_text())) / 1e9
            used = cpu_seconds(worker.pid) - cpu[0], cpu_seconds(one.pid) - cpu[1]
    return JOBS / took, used[0] / took, used[1] / took


async def _enqueue(one: Server, jobs: int) -> float:
    given = settings.load({}, redis_url=one.url)
    async with Lanework(given) as client:
        await deploy(client)
        payloads = [{"x": n} for n in range(jobs)]
        begun = time.perf_counter()
        await client.enqueue_many("noop", payloads)
        return jobs / (time.perf_counter() - begun)


async def deploy(client: Lanework) -> None:
    found = discover(FUNCTIONS).functions
    async with opened(client.settings) as redis:
        deployed = [describe(name, fn, client.settings) for name, fn in found.items()]
        await Registry(redis, client.settings).publish(deployed)


def _limit(mode: str, phase: str | None = None) -> float:
    """What the server sustains for the smallest such lifecycle, driven by a loop in C."""
    WORK.mkdir(exist_ok=True)
    binary = WORK / "limit"
    source = HERE / "limit.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(binary), str(source)], check=True)
    with server() as one:
        done = subprocess.run(
            [str(binary), str(one.port), "100000", mode], capture_output=True, text=True, check=True
        )
    told = json.loads(done.stdout)
    return float(told["jobs"] / (told[phase] if phase else told["enqueue_wall"] + told["work_wall"]))
