"""What a job has emitted and logged: `/jobs/{id}/output` and `/jobs/{id}/log`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runtime.client import Lanework
from runtime.client.watching import JobEvent
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import json_reply
from runtime.gateway.sse import line_shown
from runtime.values import codec

_TEXT = "text/plain; charset=utf-8"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


class OutputsApi:
    """The handlers, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework

    async def output(self, request: Request) -> Response:
        """What the newest attempt has emitted so far; as text, raw and as it comes, until that attempt ends."""
        requests.refuse_unknown(request, set())
        job_id = request.path_params["id"]
        if requests.prefers(request, "text/plain") and request.method != "HEAD":
            return await self._raw(job_id)
        output = await self._lanework.output(job_id)
        chunks = [codec.showable(chunk) for chunk in output.chunks]
        return json_reply({"attempt": output.attempt, "dropped": output.dropped, "output": chunks})

    async def _raw(self, job_id: str) -> Response:
        job = await self._lanework.get(job_id)
        if job.settled:
            whole = await self._lanework.output(job_id)
            return Response(b"".join(map(_bytes, whole.chunks)), 200, _HEADERS, media_type=_TEXT)
        attempt = job.attempt if job.status == "running" else job.attempt + 1
        events = self._lanework.watch(job_id)
        first = await anext(events)  # raises before anything is answered
        return StreamingResponse(_following(first, events, attempt), 200, _HEADERS, media_type=_TEXT)

    async def log(self, request: Request) -> Response:
        """The last lines, the oldest first."""
        requests.refuse_unknown(request, set())
        lines = await self._lanework.log(request.path_params["id"])
        return json_reply({"lines": [line_shown(line) for line in lines]})


def paths(lanework: Lanework) -> Paths:
    api = OutputsApi(lanework)
    return {"/jobs/{id}/output": {"GET": api.output}, "/jobs/{id}/log": {"GET": api.log}}


async def _following(first: JobEvent, events: AsyncGenerator[JobEvent], attempt: int) -> AsyncGenerator[bytes]:
    """The output of one attempt, until it is over."""
    event: JobEvent | None = first
    with contextlib.suppress(LaneworkError):  # the answer has begun
        while event is not None:
            if event.kind == "output" and event.attempt == attempt:
                yield _bytes(event.value)
            elif event.kind == "settled" or (event.kind == "status" and _is_over(event, attempt)):
                return
            event = await anext(events, None)


def _is_over(event: JobEvent, attempt: int) -> bool:
    return event.attempt > attempt or (event.attempt == attempt and event.status != "running")


def _bytes(chunk: Any) -> bytes:
    """Text and bytes as they are, anything else as a line of JSON."""
    if isinstance(chunk, str):
        return chunk.encode("utf-8", "replace")
    return chunk if isinstance(chunk, bytes) else codec.to_json(codec.showable(chunk)) + b"\n"
