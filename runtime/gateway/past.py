"""Figures of the past, from history."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import BadRequest, json_reply
from runtime.gateway.queries import moment
from runtime.history.bucket import PERCENTS, SPANS, Bucket
from runtime.values.clock import rfc3339


class PastApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework

    async def show(self, request: Request) -> Response:
        """How many jobs settled how, and percentiles of their waits and runs, by function and hour or day."""
        requests.refuse_unknown(request, {"by", "after", "before", "function"})
        query = request.query_params
        by = query.get("by", "hour")
        if by not in SPANS:
            raise BadRequest(422, "query-invalid", f"by is {' or '.join(SPANS)}")
        try:
            times = {name: moment(query[name]) for name in ("after", "before") if name in query}
            buckets = await self._lanework.past(cast("Any", by), function=query.get("function"), **times)
        except ValueError as error:
            raise BadRequest(422, "query-invalid", str(error)) from None
        return json_reply({"by": by, "buckets": [_shown(bucket) for bucket in buckets]})


def paths(lanework: Lanework) -> Paths:
    return {"/stats/history": {"GET": PastApi(lanework).show}}


def _shown(bucket: Bucket) -> dict[str, Any]:
    counts = {status: bucket.counts.get(status, 0) for status in ("completed", "failed", "cancelled")}
    ended = counts["completed"] + counts["failed"]
    return {
        "function": bucket.function,
        "since": rfc3339(bucket.since),
        **counts,
        "failure_rate": round(counts["failed"] / ended, 4) if ended else None,
        "wait_ms": _percentiles(bucket.wait),
        "run_ms": _percentiles(bucket.run),
    }


def _percentiles(values: dict[int, int]) -> dict[str, int | None]:
    return {f"p{percent}": values.get(percent) for percent in PERCENTS}
