"""What is deployed, as people see it: contracts, policies, who has them, and how they are doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from runtime.client import Lanework
from runtime.errors import AccessForbidden, FunctionUnknown
from runtime.handlers.schedule import Schedule
from runtime.store.registry import Deployed, WorkerInfo
from runtime.values.clock import now_ms, rfc3339

_ERRORS = 5


async def describe_functions(lanework: Lanework, name: str | None = None) -> list[dict[str, Any]]:
    """All functions, or one. Raises FunctionUnknown, StoreUnavailable."""
    if name is not None:
        await lanework.function(name)  # raises with near names
    functions = await lanework.functions()
    if name is not None and name not in functions:
        raise FunctionUnknown(name)
    workers = await lanework.workers()
    paused = await lanework.paused()
    depths = await lanework.depths()
    names = list(functions) if name is None else [name]
    dead = await lanework.dead_counts(names)
    shown = []
    for own_name in names:
        deployed = functions[own_name]
        own = [depth for depth in depths if depth.function == own_name]
        shown.append(
            {
                **asdict(deployed),
                "schedules": await _schedules(lanework, deployed),
                **_rollout(deployed, workers, await _unknown_destination(lanework, deployed)),
                "paused": "*" in paused or f"function:{own_name}" in paused,
                "waiting": sum(depth.waiting for depth in own),
                "running": sum(depth.running for depth in own),
                "depth": {depth.lane: {"waiting": depth.waiting, "running": depth.running} for depth in own},
                "failed": dead[own_name],
            }
        )
    return shown


async def describe_function(lanework: Lanework, name: str) -> dict[str, Any]:
    """One function, with its last errors. Raises FunctionUnknown, StoreUnavailable."""
    (shown,) = await describe_functions(lanework, name)
    failed = await lanework.dead(name, limit=_ERRORS)
    shown["last_errors"] = [
        {"job": job.id, "failed_at": rfc3339(job.finished_at), **(job.error or {})} for job in failed.jobs
    ]
    return shown


def _rollout(deployed: Deployed, workers: Sequence[WorkerInfo], unknown_destination: str | None) -> dict[str, Any]:
    """Which workers have which version, and what is wrong with that."""
    name = deployed.name
    having = [worker for worker in workers if name in worker.functions]
    failing = {worker.id: worker.broken[name] for worker in workers if name in worker.broken}
    versions = {worker.functions[name] for worker in having}
    trouble = None
    if failing:
        trouble = f"it does not load on {len(failing)} of {len({*failing, *(w.id for w in having)})} workers"
        if having:
            trouble += "; its last good version runs"
    elif not having:
        trouble = "no worker has it"
    elif deployed.note:
        trouble = deployed.note
    elif len(versions) > 1:
        trouble = f"workers have {len(versions)} versions of it"
    elif unknown_destination:
        trouble = f"its settled jobs go to {unknown_destination}, which no worker has"
    return {
        "workers": [{"id": worker.id, "version": worker.functions[name] or None} for worker in having],
        "broken": next(iter(failing.values()), None),
        "trouble": trouble,
    }


async def _unknown_destination(lanework: Lanework, deployed: Deployed) -> str | None:
    for name in (deployed.on_success, deployed.on_failure):
        if name is not None:
            try:
                await lanework.function(name)
            except AccessForbidden:  # it is not for the caller to know
                continue
            except FunctionUnknown:
                return name
    return None


async def _schedules(lanework: Lanework, deployed: Deployed) -> list[dict[str, Any]]:
    schedules = [Schedule(*row) for row in deployed.schedules]
    if not schedules:
        return []
    past = await lanework.ticks(deployed.name, [schedule.key for schedule in schedules])
    return [
        {
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "payload": schedule.payload,
            "next_run_at": rfc3339(schedule.next(now_ms())),
            "last_run_at": rfc3339(ticked.ran) if ticked else None,
            "last_job": ticked.job if ticked else None,
            "skipped": ticked.skipped if ticked else 0,
        }
        for schedule, ticked in zip(schedules, past, strict=True)
    ]
