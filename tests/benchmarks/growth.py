"""The cost of a job as everything round it grows; in Redis' CPU, since the client's does not depend on it."""

from __future__ import annotations

import uvloop

from runtime import settings
from runtime.settings import Settings
from runtime.store.connect import opened
from runtime.store.jobs import Jobs, NewJob
from runtime.store.lanes import Lanes, Settlement
from tests.benchmarks.machine import Server, server

_MEASURED = 20_000
_BATCH = 100


def measure() -> dict[str, float]:
    """µs of Redis' CPU for one job from enqueue to settled, and how each compares with the smallest."""
    figures: dict[str, float] = {}
    for name, waiting, functions, lanes in [
        ("10 waiting, 1 function, 3 lanes", 10, 1, "low,normal,high"),
        ("1,000,000 waiting", 1_000_000, 1, "low,normal,high"),
        ("200 functions", 10, 200, "low,normal,high"),
        ("10 lanes", 10, 1, "1..10"),
        ("200 functions and 10 lanes", 10, 200, "1..10"),
    ]:
        with server() as one:
            given = settings.load({}, redis_url=one.url, lanes=lanes)
            figures[name] = uvloop.run(_cost(one, given, waiting, functions))
    base = figures["10 waiting, 1 function, 3 lanes"]
    return {f"{name}: {kind}": v for name, µs in figures.items() for kind, v in (("µs", µs), ("ratio", µs / base))}


async def _cost(one: Server, given: Settings, waiting: int, functions: int) -> float:
    names = [f"f{n}" for n in range(functions)]
    async with opened(given, timeout=None) as client:
        jobs, lanes = Jobs(client, given), Lanes(client, given, 0, "bench")
        await _fill(jobs, given, names, waiting)
        await _run(jobs, lanes, given, names, _MEASURED // 10)
        before = one.cpu()
        await _run(jobs, lanes, given, names, _MEASURED)
        return (one.cpu() - before) / _MEASURED * 1e6


async def _run(jobs: Jobs, lanes: Lanes, given: Settings, names: list[str], count: int) -> None:
    for _ in range(count // _BATCH):
        await _fill(jobs, given, names, _BATCH)
        left = _BATCH
        while left:
            taken = (await lanes.take(left, names)).jobs
            await lanes.settle([Settlement(t, "completed", b"\xc0") for t in taken])
            left -= len(taken)


async def _fill(jobs: Jobs, given: Settings, names: list[str], count: int) -> None:
    """Spread over functions in turn, and over all lanes by function."""
    payload = b"\x81\xa1x\x01"
    for start in range(0, count, 1000):
        batch = [
            NewJob(jobs.new_id(), names[n % len(names)], given.lanes[n % len(given.lanes)], payload, 3)
            for n in range(start, min(count, start + 1000))
        ]
        await jobs.enqueue(batch)
