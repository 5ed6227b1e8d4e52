"""`GET /events`: each new status of all jobs, as it happens, or those since a position."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.client.changes import JobChange
from runtime.gateway import requests, sse
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import BadRequest, json_reply
from runtime.jobs.job import STATUSES

_FILTERS = ("type", "status")


class ChangesApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework

    async def show(self, request: Request) -> Response:
        """A stream for a client that accepts one (`Last-Event-ID` goes on behind a change), else the changes behind
        `after`."""
        requests.refuse_unknown(request, {"after", *_FILTERS})
        types, statuses = (_names(request, name) for name in _FILTERS)
        if unknown := [name for name in statuses if name not in STATUSES]:
            raise BadRequest(422, "query-invalid", f"{unknown[0][:50]!r} is no status: {', '.join(STATUSES)}")
        after = requests.header(request, b"last-event-id") or request.query_params.get("after") or None
        if sse.is_wanted(request):
            changes = self._lanework.changes(after, types=types, statuses=statuses)
            return sse.reply(await anext(changes), changes, _text)
        recent = await self._lanework.recent(after, types=types, statuses=statuses)
        return json_reply(
            {
                "changes": [_data(change) for change in recent.changes],
                "position": str(recent.position),
                "gap": recent.gap,
            }
        )


def paths(lanework: Lanework) -> Paths:
    return {"/events": {"GET": ChangesApi(lanework).show}}


def _names(request: Request, name: str) -> tuple[str, ...]:
    return tuple(part for part in request.query_params.get(name, "").split(",") if part)


def _data(change: JobChange) -> dict[str, str | int]:
    return {"id": change.id, "type": change.type, "status": change.status, "attempt": change.attempt}


def _text(change: JobChange) -> bytes:
    """`alive` is an event too: its position is newer than that of the last change that was wanted."""
    return sse.frame(change.kind, change.position, _data(change) if change.kind == "status" else {})
