"""The cost of a job as everything round it grows: Redis' CPU, and that with the store's in Python.

What a worker does with a job in between does not depend on any of it, and is left out.
"""

from __future__ import annotations

import statistics
import time
from contextlib import AsyncExitStack, ExitStack

import uvloop

from runtime import settings
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Offer, Settlement
from runtime.store.connect import opened
from runtime.store.jobs import Jobs
from runtime.store.rows import NewJob
from runtime.values.shards import Shards
from tests.benchmarks.machine import Server, server

_CHUNKS = 12
_CHUNK = 2_000
_BATCH = 100
_BASE = "10 waiting, 1 function, 3 lanes"
_BACKLOG = "200 functions, 10 jobs of each"
_CASES = [
    (_BASE, 10, 1, "low,normal,high"),
    ("1,000,000 waiting", 1_000_000, 1, "low,normal,high"),
    ("200 functions", 10, 200, "low,normal,high"),
    ("200 functions, 1 busy", 10, -200, "low,normal,high"),
    (_BACKLOG, 10, 200, "low,normal,high"),
    ("10 lanes", 10, 1, "1..10"),
    ("200 functions and 10 lanes", 10, 200, "1..10"),
]


def measure() -> dict[str, float]:
    """µs of CPU for one job from enqueue to settled, and how each compares with the smallest.

    All cases run side by side, a chunk of each in turn, so that a change of the machine's speed hits all alike.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(server()) for _ in _CASES]
        costs = uvloop.run(_measure(servers))
    least_redis, least = costs[_BASE]
    return {
        f"{name}: {kind}": value
        for name, (in_redis, in_all) in costs.items()
        for kind, value in (
            ("µs", in_all),
            ("ratio", in_all / least),
            ("Redis alone, µs", in_redis),
            ("Redis alone, ratio", in_redis / least_redis),
        )
    }


async def _measure(servers: list[Server]) -> dict[str, tuple[float, float]]:
    """µs in Redis, and in Redis and here."""
    async with AsyncExitStack() as stack:
        cases = []
        for one, (name, waiting, functions, lanes) in zip(servers, _CASES, strict=True):
            given = settings.load({}, redis_url=one.url, lanes=lanes)
            client = await stack.enter_async_context(opened(given, timeout=None))
            names = [f"f{n}" for n in range(abs(functions))]
            busy = names[:1] if functions < 0 else names
            jobs = Jobs(client, given)
            await _fill(jobs, given, names, waiting)
            cases.append((name, one, jobs, AttemptStore(client, given, 0, "bench"), given, names, busy))
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in cases}
        for _ in range(_CHUNKS):
            for name, one, jobs, store, given, names, busy in cases:
                before, ours = one.cpu(), time.process_time()
                await _run(jobs, store, given, names, busy, _CHUNK if name == _BACKLOG else _BATCH)
                ours = time.process_time() - ours
                redis = one.cpu() - before
                costs[name].append((redis / _CHUNK * 1e6, (redis + ours) / _CHUNK * 1e6))
    return {name: tuple(map(statistics.median, zip(*each, strict=True))) for name, each in costs.items()}


async def _run(
    jobs: Jobs, lanes: AttemptStore, given: Settings, names: list[str], busy: list[str], at_once: int
) -> None:
    """`at_once`: how many are stored before the first of them is taken. With `_BATCH` and 200 functions, no two
    jobs of a batch are of the same function, and each leaves its stream empty."""
    offer = Offer(dict.fromkeys(names, "1f3c5a7e9b0d"))
    for _ in range(_CHUNK // at_once):
        await _fill(jobs, given, busy, at_once)
        left = at_once
        while left:
            taken = (await lanes.take(min(left, _BATCH), offer)).jobs
            await lanes.settle([Settlement(t, "completed", b"\xc0") for t in taken])
            left -= len(taken)


async def _fill(jobs: Jobs, given: Settings, names: list[str], count: int) -> None:
    """Spread over functions in turn, and over all lanes by function."""
    payload, shards = b"\x81\xa1x\x01", Shards(given.shards)
    for start in range(0, count, 1000):
        batch = [
            NewJob(shards.new_id(), names[n % len(names)], given.lanes[n % len(given.lanes)], payload, 3)
            for n in range(start, min(count, start + 1000))
        ]
        await jobs.enqueue(batch)
