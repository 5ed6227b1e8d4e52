"""A system with nothing to do: how soon a job starts, what a worker costs, what a waiting job weighs."""

from __future__ import annotations

import asyncio
import statistics
import time

import uvloop

from runtime import settings
from runtime.client import Lanework
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import Server, cpu_seconds, lanework, server, until

_SAMPLES = 500
_IDLE_SECONDS = 10.0
_WEIGHED = 10_000


def latency() -> dict[str, float]:
    """From just before enqueue to the handler's start, one job at a time, 10 ms apart."""
    with server() as one, lanework(one, "worker"):
        until(lambda: one.client.zcard("lw:workers"), "worker")
        took, pings = uvloop.run(_latencies(one))
    middle, ping = statistics.median(took), statistics.median(pings)
    return {
        "p50 ms": middle,
        "p99 ms": sorted(took)[int(0.99 * len(took))],
        "p50 of a bare PING by redis-py, ms": ping,
        "p50 / that PING": middle / ping,
    }


async def _latencies(one: Server) -> tuple[list[float], list[float]]:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        jobs, pings = [], []
        for _ in range(_SAMPLES + 20):
            await asyncio.sleep(0.01)
            jobs.append(await client.enqueue("lag", {"t": time.monotonic_ns()}))
            await asyncio.sleep(0.01)
            begun = time.monotonic_ns()
            await client.ping()
            pings.append((time.monotonic_ns() - begun) / 1e6)
        return [(await client.wait(job.id, 10)).result / 1e6 for job in jobs[20:]], pings


def cpu() -> dict[str, float]:
    """Per cent of a core that an idle worker uses."""
    with server() as one, lanework(one, "worker") as worker:
        until(lambda: one.client.zcard("lw:workers"), "worker")
        time.sleep(1)
        before, redis = cpu_seconds(worker.pid), cpu_seconds(one.pid)
        time.sleep(_IDLE_SECONDS)
        used = cpu_seconds(worker.pid) - before, cpu_seconds(one.pid) - redis
    return {
        "worker, % of a core": 100 * used[0] / _IDLE_SECONDS,
        "redis, % of a core": 100 * used[1] / _IDLE_SECONDS,
    }


def memory() -> dict[str, float]:
    """Bytes in Redis of a waiting job with 60 bytes of payload."""
    with server() as one:
        uvloop.run(_weigh(one, 100))
        before = one.memory()
        uvloop.run(_weigh(one, _WEIGHED))
        return {"bytes a waiting job": (one.memory() - before) / _WEIGHED}


async def _weigh(one: Server, jobs: int) -> None:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await deploy(client)
        await client.enqueue_many("weigh", ["x" * 58] * jobs)  # 60 bytes as JSON and as msgpack
