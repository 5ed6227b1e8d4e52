"""The peers: BullMQ with 100 jobs at once, and Huey with 4 threads, the fastest one of pure Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.machine import HERE, WORK, Server, process, server, until

_BULLMQ = WORK / "bullmq"
_HUEY = WORK / "huey"


def install() -> None:
    """BullMQ by npm and Huey by pip, into folders of their own."""
    WORK.mkdir(exist_ok=True)
    if shutil.which("node") and not (_BULLMQ / "node_modules" / "bullmq").exists():
        _BULLMQ.mkdir(exist_ok=True)
        subprocess.run(
            ["npm", "install", "--no-package-lock", "--prefix", str(_BULLMQ), "bullmq", "ioredis"], check=True
        )
    if not (_HUEY / "bin" / "huey_consumer").exists():
        subprocess.run([sys.executable, "-m", "venv", str(_HUEY)], check=True)
        subprocess.run([str(_HUEY / "bin" / "pip"), "install", "-q", "huey", "redis", "hiredis"], check=True)


def installed() -> list[str]:
    found = {"bullmq": (_BULLMQ / "node_modules" / "bullmq").exists(), "huey": (_HUEY / "bin" / "python").exists()}
    return [name for name, here in found.items() if here]


def drain(jobs: int) -> dict[str, float]:
    """Jobs a second of each peer that is installed, from the first handler's start to the last result."""
    ways = {"bullmq": _bullmq, "huey": _huey}
    return {name: ways[name](jobs) for name in installed()}


def _bullmq(jobs: int) -> float:
    script = [shutil.which("node") or "node", str(HERE / "peer_programs" / "bullmq.cjs")]
    return _drain(
        jobs,
        script,
        script,
        lambda one: one.client.zcard("bull:bench:completed") == jobs,
        {"MODULES": str(_BULLMQ)},
    )


def _huey(jobs: int) -> float:
    python = str(_HUEY / "bin" / "python")
    producer = [python, "-c", "import huey_peer; huey_peer.produce()"]
    consumer = [python, "-m", "huey.bin.huey_consumer", "huey_peer.huey", "-k", "thread", "-w", "4", "-q"]
    env = {"PYTHONPATH": str(HERE / "peer_programs")}
    return _drain(jobs, producer, consumer, lambda one: one.client.hlen("huey.results.bench") >= jobs, env)


def _drain(jobs: int, producer: list[str], worker: list[str], finished: object, env: dict[str, str]) -> float:
    with server() as one, tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "first"
        given = env | {"BENCH_PORT": str(one.port), "BENCH_JOBS": str(jobs), "BENCH_MARK": str(mark)}
        subprocess.run(
            producer, env=os.environ | given | {"BENCH_ROLE": "producer"}, check=True, stdout=subprocess.DEVNULL
        )
        with process(*worker, env=given | {"BENCH_ROLE": "worker"}):
            return _rate(one, jobs, mark, finished)


def _rate(one: Server, jobs: int, mark: Path, finished: object) -> float:
    until(lambda: mark.exists() and mark.read_text(), "first job", pause=0.001)
    until(lambda: finished(one), "end of the drain")  # type: ignore[operator]
    return jobs / ((time.monotonic_ns() - int(mark.read_text())) / 1e9)
