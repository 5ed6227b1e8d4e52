"""Figures: each function and lane, and where a job stands in its line."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.client.counts import Figures
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import json_reply


class StatsApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework

    async def show(self, request: Request) -> Response:
        """What waits, runs, is scheduled and has failed, the age of the oldest, and rates a minute."""
        requests.refuse_unknown(request, set())
        stats = await self._lanework.stats()
        functions = [
            {
                "function": of.function,
                **_shown(of.whole),
                "dead": of.whole.dead,
                "lanes": {lane: _shown(figures) for lane, figures in of.lanes.items()},
            }
            for of in stats.functions
        ]
        return json_reply({"functions": functions, "scheduled_partial": stats.scheduled_partial})

    async def place(self, request: Request) -> Response:
        """How many jobs are before one that waits; null for one that does not."""
        requests.refuse_unknown(request, set())
        job_id = request.path_params["id"]
        place = await self._lanework.place(job_id)
        ahead, exact = (None, True) if place is None else place
        return json_reply({"id": job_id, "ahead": ahead, "exact": exact})


def paths(lanework: Lanework) -> Paths:
    api = StatsApi(lanework)
    return {"/stats": {"GET": api.show}, "/jobs/{id}/position": {"GET": api.place}}


def _shown(figures: Figures) -> dict[str, Any]:
    rates = {
        what: {"1m": round(rate.of_1, 2), "5m": round(rate.of_5, 2), "60m": round(rate.of_60, 2)}
        for what, rate in figures.rates.items()
    }
    return {
        "waiting": figures.waiting,
        "running": figures.running,
        "scheduled": figures.scheduled,
        "oldest_seconds": figures.oldest,
        "per_minute": rates,
    }
