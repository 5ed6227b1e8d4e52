"""`def` functions in processes of their own: what that costs a job, and whether CPU work scales with the cores."""

from __future__ import annotations

import os
import time

import uvloop

from runtime import settings
from runtime.client import Lanework
from tests.benchmarks.machine import Server, cpu_seconds, lanework, server, until

_NOOPS = 10_000
_SPINS = 40


def measure() -> dict[str, float]:
    """Jobs a second with two processes, and how much sooner CPU-bound work ends with one for each core."""
    rate, python, redis = _drain("in_child", _NOOPS, 2)
    cores = os.cpu_count() or 1
    alone, *_ = _drain("spin", _SPINS, 1)
    together, *_ = _drain("spin", _SPINS, cores)
    return {
        "no-op def, two processes, jobs/s": rate,
        "worker, µs of CPU a job": python,
        "redis, µs of CPU a job": redis,
        f"CPU-bound, {cores} processes / 1": together / alone,
        "of the cores": together / alone / cores,
    }


def _drain(function: str, jobs: int, processes: int) -> tuple[float, float, float]:
    with server() as one, lanework(one, "worker", "--processes", str(processes)) as worker:
        until(lambda: one.client.zcard("lw:workers"), "worker")
        uvloop.run(_fill(one, function, jobs))
        before, redis, begun = cpu_seconds(worker.pid), one.cpu(), time.perf_counter()
        uvloop.run(_resume(one))
        until(lambda: one.client.xlen(f"lw:{{0}}:q:{function}:normal") == 0, "end of the drain")
        took = time.perf_counter() - begun
        return jobs / took, (cpu_seconds(worker.pid) - before) / jobs * 1e6, (one.cpu() - redis) / jobs * 1e6


async def _fill(one: Server, function: str, jobs: int) -> None:
    """Behind a pause; one job before it has started every process."""
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        for job in await client.enqueue_many(function, [None] * 50 if function == "in_child" else [None] * 4):
            await client.wait(job, 60)
        await client.pause()
        await client.enqueue_many(function, [None] * jobs)


async def _resume(one: Server) -> None:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await client.resume()
