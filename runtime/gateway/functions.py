"""What is deployed, as people see it: contracts, policies, who has them, and how they are doing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from runtime.client import Lanework, within
from runtime.clock import now_ms, rfc3339
from runtime.cron import Schedule
from runtime.errors import FunctionUnknown
from runtime.store.registry import Deployed


async def describe_functions(lanework: Lanework, name: str | None = None) -> list[dict[str, Any]]:
    """All functions, or one. Raises FunctionUnknown, StoreUnavailable."""
    if name is not None:
        await within(lanework.contracts.get(name))  # raises with near names
    contracts = await within(lanework.contracts.all())
    if name is not None and name not in contracts:
        raise FunctionUnknown(name)
    workers = await lanework.workers()
    paused = await lanework.paused()
    names = list(contracts) if name is None else [name]
    dead = await within(lanework.dead.count(names))
    shown = []
    for one in names:
        deployed = contracts[one].deployed
        shown.append(
            {
                **asdict(deployed),
                "schedules": await _schedules(lanework, deployed),
                "workers": [worker.id for worker in workers if one in worker.functions],
                "paused": "*" in paused or f"function:{one}" in paused,
                "failed": dead[one],
            }
        )
    return shown


async def _schedules(lanework: Lanework, deployed: Deployed) -> list[dict[str, Any]]:
    schedules = [Schedule(*given) for given in deployed.schedules]
    if not schedules:
        return []
    past = await within(lanework.schedules.past(deployed.name, [schedule.key for schedule in schedules]))
    return [
        {
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "next_run_at": rfc3339(schedule.next(now_ms())),
            "last_run_at": rfc3339(ticked.ran) if ticked else None,
            "last_job": ticked.job if ticked else None,
            "skipped": ticked.skipped if ticked else 0,
        }
        for schedule, ticked in zip(schedules, past, strict=True)
    ]
