"""The queues' gauges; from the gateway alone, so that a sum over workers does not count a job twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from runtime.client import Lanework
from runtime.errors import StoreError, StoreUnavailable
from runtime.store.archive import Lag
from runtime.store.registry import WorkerInfo
from runtime.store.server import Server
from runtime.store.stats import Depth


async def collect(lanework: Lanework) -> bytes:
    """Prometheus' text of how much waits and runs, who serves it, and how Redis is. Raises StoreUnavailable."""
    depths, scheduled, workers, lag, server, functions = await asyncio.gather(
        lanework.depths(),
        lanework.scheduled(),
        lanework.workers(),
        lanework.history_lag(),
        _server(lanework),
        lanework.functions(),
    )
    own = sorted({deployed.serves for deployed in functions.values()} | {depth.function for depth in depths})
    waiting = [(depth.function, depth.lane) for depth in depths if depth.waiting]
    oldest, dead = await asyncio.gather(lanework.oldest(waiting), lanework.dead_counts(own))
    registry = _registry(up=True)
    _set_depths(registry, depths, oldest)
    _set_functions(registry, own, dead, workers)
    Gauge("lanework_jobs_scheduled", "Jobs that wait for their time.", registry=registry).set(scheduled)
    Gauge("lanework_workers", "Workers alive.", registry=registry).set(len(workers))
    if lag is not None:
        _set_lag(registry, lag)
    if server is not None:
        _set_server(registry, server)
    return generate_latest(registry)


async def _server(lanework: Lanework) -> Server | None:
    """None where its user may not ask (INFO)."""
    try:
        return await lanework.server()
    except StoreUnavailable:
        raise
    except StoreError:
        return None


def _set_depths(
    registry: CollectorRegistry, depths: Sequence[Depth], oldest: Mapping[tuple[str, str], float]
) -> None:
    by = ["function", "lane"]
    waiting = Gauge("lanework_jobs_waiting", "Jobs that wait in a lane.", by, registry=registry)
    running = Gauge("lanework_jobs_running", "Jobs that workers hold.", by, registry=registry)
    first = Gauge(
        "lanework_jobs_oldest_seconds", "How long the first that waits has waited.", by, registry=registry
    )
    for depth in depths:
        name = depth.function, depth.lane
        waiting.labels(*name).set(depth.waiting)
        running.labels(*name).set(depth.running)
        first.labels(*name).set(oldest.get(name, 0.0))


def _set_functions(
    registry: CollectorRegistry, names: Sequence[str], dead: Mapping[str, int], workers: Sequence[WorkerInfo]
) -> None:
    serving = Counter(name for worker in workers for name in worker.functions)
    kept = Gauge("lanework_jobs_dead", "Failed jobs that are kept.", ["function"], registry=registry)
    served = Gauge("lanework_function_workers", "Workers that serve a function.", ["function"], registry=registry)
    for name in names:
        kept.labels(name).set(dead[name])
        served.labels(name).set(serving[name])


def _set_lag(registry: CollectorRegistry, lag: Lag) -> None:
    waits = "Entries of settled jobs that wait for history, some jobs each."
    Gauge("lanework_history_waiting_entries", waits, registry=registry).set(lag.entries)
    behind = "For how long the oldest of them has waited."
    Gauge("lanework_history_lag_seconds", behind, registry=registry).set(lag.seconds)


def _set_server(registry: CollectorRegistry, server: Server) -> None:
    for name, help, value in (
        ("memory_used_bytes", "What Redis uses.", server.memory_used),
        ("memory_limit_bytes", "Its maxmemory, 0 for none.", server.memory_limit),
        ("aof_enabled", "Whether it keeps an append-only file.", server.keeps_log),
        ("aof_ok", "Whether that was written and rewritten without an error.", server.writes_log),
    ):
        Gauge(f"lanework_redis_{name}", help, registry=registry).set(value)


def away() -> bytes:
    """The same while Redis does not answer: only the gauge that shows that."""
    return generate_latest(_registry(up=False))


def _registry(*, up: bool) -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("lanework_store_up", "Whether Redis answers (1) or not (0).", registry=registry).set(up)
    return registry
