"""What a job costs with more shards and more workers, and what idle workers and many functions cost.

The workers of the drain are processes. Idle ones are light: many in one process, whose connections, heartbeats and
looks at Redis are those of a worker of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import uvloop

from runtime import log, settings
from runtime.client import Lanework
from runtime.handlers.catalogue import Catalogue
from runtime.handlers.spec import Function
from runtime.settings import Settings
from runtime.worker.worker import Worker
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import Server, cpu_seconds, lanework, server, until

_JOBS = 30_000
_GRID = [(shards, workers) for shards in (1, 2, 4) for workers in (1, 2, 4, 8)]
_IDLE_SECONDS = 10.0
_MANY_FUNCTIONS = 10_000


def grid() -> dict[str, float]:
    """µs of CPU a no-op job by shards and workers, all on one server."""
    figures: dict[str, float] = {}
    for shards, workers in _GRID:
        rate, python, redis = _drain(shards, workers)
        name = f"{shards} shards, {workers} workers"
        figures |= {f"{name}: jobs/s": rate, f"{name}: worker, µs": python, f"{name}: Redis, µs": redis}
    return figures


def _drain(shards: int, workers: int) -> tuple[float, float, float]:
    env = {"LANEWORK_SHARDS": str(shards)}
    with server() as one, ExitStack() as stack:
        given = settings.load({}, redis_url=one.url, shards=shards)
        uvloop.run(_prepare(given, _JOBS))
        command = ("worker", "--concurrency", "200", "--functions", "noop")
        started = [stack.enter_context(lanework(one, *command, env=env)) for _ in range(workers)]
        until(lambda: one.client.zcard("lw:workers") == workers, "workers")
        before = [cpu_seconds(worker.pid) for worker in started], cpu_seconds(one.pid)
        begun = time.perf_counter()
        uvloop.run(_resume(given))
        keys = list(one.client.scan_iter("lw:*:q:noop:normal"))
        until(lambda: not any(one.client.xlen(key) for key in keys), "end of the drain")
        took = time.perf_counter() - begun
        python = sum(cpu_seconds(worker.pid) for worker in started) - sum(before[0])
        redis = cpu_seconds(one.pid) - before[1]
    return _JOBS / took, python / _JOBS * 1e6, redis / _JOBS * 1e6


async def _prepare(given: Settings, jobs: int) -> None:
    """All workers begin at once: what waits is paused until they are there."""
    async with Lanework(given) as client:
        await deploy(client)
        await client.pause()
        await client.enqueue_many("noop", [{"x": n} for n in range(jobs)])


async def _resume(given: Settings) -> None:
    async with Lanework(given) as client:
        await client.resume()


def idle() -> dict[str, float]:
    """50 and 200 idle workers with two functions, and ten that have 10,000."""
    figures: dict[str, float] = {}
    for workers, functions in ((50, 2), (200, 2), (10, _MANY_FUNCTIONS)):
        with server() as one:
            name = f"{workers} idle workers" + (f" with {functions:,} functions" if functions > 2 else "")
            figures |= {
                f"{name}: {key}": value for key, value in uvloop.run(_idle(one, workers, functions)).items()
            }
    return figures


async def _idle(one: Server, workers: int, functions: int) -> dict[str, float]:
    given = settings.load({}, redis_url=one.url, worker_port=0, log_level="error")
    log.configure(given)
    async with light_workers(given, workers, _catalogue(functions)):
        await asyncio.sleep(4)  # heartbeats spread
        connections, redis, own = len(one.client.client_list()), cpu_seconds(one.pid), time.process_time()
        await asyncio.sleep(_IDLE_SECONDS)
        return {
            "connections a worker": connections / workers,
            "Redis, % of a core": 100 * (cpu_seconds(one.pid) - redis) / _IDLE_SECONDS,
            "a worker, % of a core": 100 * (time.process_time() - own) / _IDLE_SECONDS / workers,
            "Redis' memory, MB": one.memory() / 1e6,
        }


def _catalogue(functions: int) -> Catalogue:
    async def noop(payload: Any) -> None:
        pass

    found = Catalogue()
    found.functions.update({f"f{number:05}": Function(f"f{number:05}", noop) for number in range(functions)})
    return found


@asynccontextmanager
async def light_workers(given: Settings, count: int, catalogue: Catalogue) -> AsyncIterator[list[Worker]]:
    workers = [Worker(given, catalogue) for _ in range(count)]
    tasks = []
    for worker in workers:
        tasks.append(asyncio.create_task(worker.serve()))
        await asyncio.wait_for(worker.started.wait(), 60)
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)
