"""The queues' gauges; from the gateway alone, so that a sum over workers does not count a job twice."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from runtime.client import Lanework


async def collect(lanework: Lanework) -> bytes:
    """Prometheus' text of how much waits and runs. Raises StoreUnavailable."""
    depths = await lanework.depths()
    scheduled = await lanework.scheduled()
    workers = await lanework.workers()
    lag = await lanework.history_lag()
    registry = _registry(up=True)
    waiting = Gauge("lanework_jobs_waiting", "Jobs that wait in a lane.", ["function", "lane"], registry=registry)
    running = Gauge("lanework_jobs_running", "Jobs that workers hold.", ["function", "lane"], registry=registry)
    for depth in depths:
        waiting.labels(depth.function, depth.lane).set(depth.waiting)
        running.labels(depth.function, depth.lane).set(depth.running)
    Gauge("lanework_jobs_scheduled", "Jobs that wait for their time.", registry=registry).set(scheduled)
    Gauge("lanework_workers", "Workers alive.", registry=registry).set(len(workers))
    if lag is not None:
        waits = "Entries of settled jobs that wait for history, some jobs each."
        Gauge("lanework_history_waiting_entries", waits, registry=registry).set(lag.entries)
        behind = "For how long the oldest of them has waited."
        Gauge("lanework_history_lag_seconds", behind, registry=registry).set(lag.seconds)
    return generate_latest(registry)


def away() -> bytes:
    """The same while Redis does not answer: only the gauge that shows that."""
    return generate_latest(_registry(up=False))


def _registry(*, up: bool) -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("lanework_store_up", "Whether Redis answers (1) or not (0).", registry=registry).set(up)
    return registry
