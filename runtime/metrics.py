"""Every metric, declared once. Labels are functions, lanes and outcomes: never a job.

What is counted for each attempt is kept in plain numbers by the event loop alone, and turned into
prometheus-client's families when scraped: its own counters take a lock each, which at seven a job
came to about a fifth of a worker's time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_BOUNDS = [*(str(float(bound)) for bound in _SECONDS), "+Inf"]
_BY = ["function", "lane"]

ENQUEUED = Counter("lanework_jobs_enqueued_total", "Jobs stored by this process.", _BY)
REDELIVERED = Counter("lanework_jobs_redelivered_total", "Attempts handed back because their worker was lost.", _BY)
SKIPPED = Counter("lanework_cron_skipped_total", "Ticks of schedules that were missed for good.", ["function"])
EXPIRED = Counter("lanework_jobs_expired_total", "Jobs that had not started in time.", _BY)
EVENTS = Counter(
    "lanework_events_published_total",
    "Events published by this process; unclaimed: without a subscriber.",
    ["outcome"],
)
LOST = Counter("lanework_attempts_lost_total", "Attempts that ended here after they had been taken over.")


class _Times:
    """A histogram of seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        total, cumulated = 0, []
        for bound, count in zip(_BOUNDS, self.counts, strict=True):
            total += count
            cumulated.append((bound, float(total)))
        return cumulated


class Meters:
    """What is counted of one function in one lane; for the event loop alone."""

    __slots__ = ("in_flight", "outcomes", "run", "wait")

    def __init__(self) -> None:
        self.in_flight = 0
        self.outcomes: dict[str, int] = {}
        self.wait = _Times()
        self.run = _Times()

    def started(self, waited: float) -> None:
        self.in_flight += 1
        self.wait.observe(waited)

    def ended(self, ran: float) -> None:
        self.in_flight -= 1
        self.run.observe(ran)

    def settled(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


_meters: dict[tuple[str, str], Meters] = {}
_slots = 0


def of(function: str, lane: str) -> Meters:
    """The meters of a function in a lane."""
    found = _meters.get((function, lane))
    if found is None:
        found = _meters[function, lane] = Meters()
    return found


def add_slots(count: int) -> None:
    """A worker that can run so many attempts at once comes to this process, or, with fewer than none, leaves it."""
    global _slots
    _slots += count


class _Attempts(Collector):
    def collect(self) -> Iterator[Metric]:
        if not _slots:
            return  # no worker runs in this process
        settled = CounterMetricFamily(
            "lanework_attempts_settled_total", "Attempts ended, by outcome.", labels=[*_BY, "outcome"]
        )
        retried = CounterMetricFamily(
            "lanework_jobs_retried_total", "Attempts that failed and will be tried again.", labels=_BY
        )
        wait = HistogramMetricFamily("lanework_job_wait_seconds", "Time in the lane before an attempt.", labels=_BY)
        run = HistogramMetricFamily(
            "lanework_attempt_run_seconds", "From an attempt's start to its end.", labels=_BY
        )
        flying = GaugeMetricFamily("lanework_attempts_in_flight", "Attempts that run in this worker.", labels=_BY)
        for labels, meters in list(_meters.items()):
            for outcome, count in list(meters.outcomes.items()):
                settled.add_metric([*labels, outcome], count)
            retried.add_metric(labels, meters.outcomes.get("retry", 0))
            wait.add_metric(labels, meters.wait.buckets(), meters.wait.sum)
            run.add_metric(labels, meters.run.buckets(), meters.run.sum)
            flying.add_metric(labels, meters.in_flight)
        slots = GaugeMetricFamily(
            "lanework_worker_slots", "Attempts that this process's workers can run at once.", value=_slots
        )
        yield from (settled, retried, wait, run, flying, slots)


rpcs: dict[tuple[str, str, str], int] = defaultdict(int)  # answered, by service, method and code
requests: dict[tuple[str, str, str], int] = defaultdict(int)  # answered, by route, method and code


class _Requests(Collector):
    """What the gateway has answered."""

    def collect(self) -> Iterator[Metric]:
        help = "Requests answered by the gateway."
        family = CounterMetricFamily("lanework_http_requests", help, labels=["route", "method", "code"])
        for labels, count in list(requests.items()):
            family.add_metric(labels, count)
        yield family
        if rpcs:
            calls = CounterMetricFamily(
                "lanework_grpc_calls",
                "Calls answered by the gateway's gRPC port.",
                labels=["service", "method", "code"],
            )
            for labels, count in list(rpcs.items()):
                calls.add_metric(labels, count)
            yield calls


REGISTRY.register(_Attempts())
REGISTRY.register(_Requests())
