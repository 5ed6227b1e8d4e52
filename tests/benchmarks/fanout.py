"""One attempt that starts very many jobs: how long that takes, and what others notice of it."""

from __future__ import annotations

import asyncio
import time

import uvloop

from runtime import settings
from runtime.client import Lanework
from runtime.jobs.job import Job
from tests.benchmarks.machine import Server, lanework, server, until

_JOBS = 100_000
_SLOW_US = 1000  # calls of less are not looked at


def measure() -> dict[str, float]:
    """Seconds until its job has completed, and until all that it starts have; the longest call that the server
    ran, of all and of those that were waited for by others."""
    with server() as one, lanework(one, "worker"):
        until(lambda: one.client.zcard("lw:workers"), "worker")
        one.client.config_set("slowlog-log-slower-than", _SLOW_US)
        one.client.config_set("slowlog-max-len", 10_000)
        return uvloop.run(_run(one))


async def _run(one: Server) -> dict[str, float]:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        lags: list[float] = []
        watching = asyncio.create_task(_watch(client, lags))
        begun = time.monotonic()
        job = await client.enqueue("fanout", {"jobs": _JOBS})
        done = await _settled(client, job.id)
        completed = time.monotonic() - begun
        if done.status != "completed":
            raise SystemExit(f"it {done.status}: {done.error}")
        while one.client.scard("lw:{0}:starting") or any(
            one.client.xlen(key) for key in one.client.scan_iter("lw:{0}:q:weigh:*")
        ):
            await asyncio.sleep(0.05)
        took = time.monotonic() - begun
        watching.cancel()
        children = len((await client.get(job.id)).children)
    if children != _JOBS:
        raise SystemExit(f"{children} of {_JOBS} jobs were started")
    calls = [call["duration"] / 1000 for call in one.client.slowlog_get(10_000)]
    return {
        "jobs": float(children),
        "s until it completed": completed,
        "s until all that it started had": took,
        "longest call, ms": max(calls, default=_SLOW_US / 1000),
        "longest time from enqueue to start of others, ms": max(lags),
    }


async def _settled(client: Lanework, job_id: str) -> Job:
    while not (job := await client.wait(job_id, 30)).settled:
        pass
    return job


async def _watch(client: Lanework, lags: list[float]) -> None:
    while True:
        job = await client.enqueue("lag", {"t": time.monotonic_ns()})
        lags.append((await client.wait(job.id, 30)).result / 1e6)
        await asyncio.sleep(0.01)
