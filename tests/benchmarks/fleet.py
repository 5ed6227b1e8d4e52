"""A fleet: 1,000 workers, light ones in a few processes, on a real server, with as many jobs as this machine bears.

Each worker holds its connections, marks itself alive, hears, takes and settles as it does alone. What the machine
cannot show, because workers of a fleet have machines of their own, is worked out from what was measured: how many
workers and shards a rate needs.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import uvloop

from runtime import log, settings
from runtime.client import Lanework
from runtime.handlers.catalogue import Catalogue
from runtime.handlers.spec import Function
from tests.benchmarks.machine import ROOT, cpu_seconds, server, until
from tests.benchmarks.scale import light_workers

_FLEETS = (20, 100, 1000)
_PROCESSES = 4
_RATE = 300  # jobs a second
_SECONDS = 10
_JOB_SECONDS = 0.5  # what a job waits for, as most wait for something else


def measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    for workers in _FLEETS:
        figures |= {f"{workers} workers: {name}": value for name, value in _fleet(workers).items()}
    return figures


def _fleet(workers: int) -> dict[str, float]:
    processes = min(_PROCESSES, workers)
    with server("--maxclients", "20000") as one:
        command = [sys.executable, "-m", "tests.benchmarks.fleet", one.url, str(workers // processes)]
        started = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) for _ in range(processes)]
        try:
            until(lambda: one.client.zcard("lw:workers") >= workers // processes * processes, "fleet", 240, 0.1)
            time.sleep(4)
            quiet = cpu_seconds(one.pid)
            time.sleep(_SECONDS)
            idle = (cpu_seconds(one.pid) - quiet) / _SECONDS
            connections = len(one.client.client_list())
            before = cpu_seconds(one.pid)
            begun = time.perf_counter()
            waits = uvloop.run(_load(one.url))
            took = time.perf_counter() - begun
            redis = (cpu_seconds(one.pid) - before) / took
        finally:
            for process in started:
                process.communicate(b"\n")
    rate = _RATE * _SECONDS / took
    return {
        "connections": connections,
        "Redis idle, % of a core": 100 * idle,
        "Redis, µs a job beyond that": max(0.0, redis - idle) / rate * 1e6,
        "jobs/s": rate,
        "p50 of the wait, ms": sorted(waits)[len(waits) // 2],
        "p99 of the wait, ms": sorted(waits)[int(len(waits) * 0.99)],
    }


async def _load(url: str) -> list[float]:
    """So many jobs a second; ms from enqueue to start of each, once all have settled."""
    async with Lanework(settings.load({}, redis_url=url)) as client:
        jobs: list[str] = []
        begun = time.perf_counter()
        for tenth in range(10 * _SECONDS):
            jobs += await client.enqueue_many("waits", [None] * (_RATE // 10))
            await asyncio.sleep(max(0.0, begun + (tenth + 1) / 10 - time.perf_counter()))
        ended = [await client.wait(job, 60) for job in jobs]
    return [float((job.started_at or 0) - job.created_at) for job in ended]


async def _serve(url: str, workers: int) -> None:
    async def waits(payload: Any) -> None:
        await asyncio.sleep(_JOB_SECONDS)

    found = Catalogue()
    found.functions["waits"] = Function("waits", waits)
    given = settings.load({}, redis_url=url, worker_port=0, concurrency=10, log_level="error")
    log.configure(given)
    async with light_workers(given, workers, found):
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
