"""A million small jobs, kept for a second: what is left in Redis when they are gone."""

from __future__ import annotations

import time

import uvloop

from runtime import settings
from runtime.client import Lanework
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import Server, lanework, server, until

_JOBS = 1_000_000
_BATCH = 20_000
_LANE = "lw:{0}:q:noop:normal"
_PATIENCE = 150.0


def measure() -> dict[str, float]:
    """Memory of the server (used_memory, in MB) before, at most, and after."""
    with server() as one, lanework(one, "worker", "--concurrency", "200", "--functions", "noop", keep="1"):
        uvloop.run(_enqueue(one, 1000))
        _drained(one)
        floor = _settles(one, 0.0)
        most = 0.0
        for _ in range(_JOBS // _BATCH):
            uvloop.run(_enqueue(one, _BATCH))
            most = max(most, _used(one))
            until(lambda: one.client.xlen(_LANE) < 2 * _BATCH, "room")
        _drained(one)
        after = _settles(one, floor * 1.05)
    return {"floor, MB": floor, "most, MB": most, "after a million jobs, MB": after, "after / floor": after / floor}


async def _enqueue(one: Server, count: int) -> None:
    async with Lanework(settings.load({}, redis_url=one.url, keep=1.0)) as client:
        await deploy(client)
        await client.enqueue_many("noop", [{"x": n} for n in range(count)])


def _drained(one: Server) -> None:
    until(lambda: one.client.xlen(_LANE) == 0, "end of the drain")


def _used(one: Server) -> float:
    return float(one.client.info("memory")["used_memory"]) / 1e6


def _settles(one: Server, enough: float) -> float:
    """What is used once no job's record is left, and a batch's marker has expired."""
    deadline = time.monotonic() + _PATIENCE
    until(lambda: _left(one) == 0, "expiry of the records", deadline=_PATIENCE, pause=0.5)
    while _used(one) > enough > 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    return _used(one)


def _left(one: Server) -> int:
    kinds = (b":job:", b":stored:")
    return sum(any(kind in key for kind in kinds) for key in one.client.scan_iter("lw:*", count=10_000))
