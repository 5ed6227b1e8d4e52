"""What a gateway answers, as what the client over Redis returns."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from runtime.client.counts import WHAT, Figures, FunctionStats, Rate, Statistics
from runtime.history.bucket import Bucket
from runtime.jobs.job import Job
from runtime.store.pages import Page
from runtime.store.registry import Deployed, WorkerInfo
from runtime.values.durations import unix_ms

_TIMES = (
    "created_at",
    "updated_at",
    "run_at",
    "started_at",
    "finished_at",
    "start_before",
    "cancel_requested_at",
)
_JOB = frozenset(field.name for field in fields(Job))
_ENDS = ("completed", "failed", "cancelled")
_OMITTED = ("payload", "result", "history", "children", "then", "event")


def job(shown: Mapping[str, Any]) -> Job:
    known: dict[str, Any] = {name: value for name, value in shown.items() if name in _JOB}
    for name in _TIMES:
        known[name] = None if shown.get(name) is None else unix_ms(shown[name])
    for name in ("payload", "result", "progress"):
        known[name] = restored(known.get(name))
    known["omitted"] = tuple(name for name in _OMITTED if shown.get(f"{name}_omitted"))
    return Job(**known)


def restored(value: Any) -> Any:
    """Bytes as bytes again, which JSON shows as {"$base64": …}."""
    if isinstance(value, dict):
        encoded = value.get("$base64")
        if len(value) == 1 and isinstance(encoded, str):
            try:
                return base64.b64decode(encoded, validate=True)
            except ValueError:
                return value
        return {name: restored(inner) for name, inner in value.items()}
    return [restored(inner) for inner in value] if isinstance(value, list) else value


def buckets(shown: Mapping[str, Any]) -> list[Bucket]:
    return [
        Bucket(
            own["function"],
            unix_ms(own["since"]),
            {status: own[status] for status in _ENDS if own[status]},
            _percentiles(own["wait_ms"]),
            _percentiles(own["run_ms"]),
        )
        for own in shown["buckets"]
    ]


def _percentiles(shown: Mapping[str, int | None]) -> dict[int, int]:
    return {int(name.removeprefix("p")): value for name, value in shown.items() if value is not None}


def page(shown: Mapping[str, Any]) -> Page:
    return Page([job(one) for one in shown["jobs"]], shown["cursor"], shown["partial"])


def deployed(shown: Mapping[str, Any]) -> Deployed:
    known = {field.name for field in fields(Deployed)}
    schedules: list[Any] = [[own["cron"], own["timezone"], own["payload"]] for own in shown.get("schedules", ())]
    return Deployed(**{name: value for name, value in shown.items() if name in known} | {"schedules": schedules})


def worker(shown: Mapping[str, Any]) -> WorkerInfo:
    known = {field.name: shown[field.name] for field in fields(WorkerInfo) if field.name in shown}
    return WorkerInfo(**{**known, "started_at": unix_ms(shown["started_at"])})


def statistics(shown: Mapping[str, Any]) -> Statistics:
    functions = [
        FunctionStats(own["function"], _figures(own), {lane: _figures(of) for lane, of in own["lanes"].items()})
        for own in shown["functions"]
    ]
    return Statistics(functions, shown["scheduled_partial"])


def _figures(shown: Mapping[str, Any]) -> Figures:
    rates = {what: Rate(*(shown["per_minute"][what][span] for span in ("1m", "5m", "60m"))) for what in WHAT}
    counts = (shown["waiting"], shown["running"], shown["scheduled"], shown["oldest_seconds"])
    return Figures(*counts, rates, shown.get("dead"))
