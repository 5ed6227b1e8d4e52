"""A job's events as they happen (server-sent events, WHATWG HTML section 9.2), on the URL of the job itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runtime.client import Lanework
from runtime.client.watching import JobEvent
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.values import codec

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def is_wanted(request: Request) -> bool:
    """Whether the client prefers events to JSON: of those that take both, the first that it names."""
    first = requests.header(request, b"accept").partition(",")[0].partition(";")[0]
    return first.strip().lower() == "text/event-stream" and request.method != "HEAD"


async def stream(lanework: Lanework, request: Request, job_id: str, status: int = 200, **headers: str) -> Response:
    """Answers with the job's events; `Last-Event-ID` goes on behind one.

    204 where nothing comes after that, upon which browsers do not ask again. Raises what `Lanework.watch` does,
    before anything is answered.
    """
    events = lanework.watch(job_id, requests.header(request, b"last-event-id") or None)
    try:
        first = await anext(events)
    except StopAsyncIteration:
        return Response(None, 204, headers)
    return StreamingResponse(
        _chunks(first, events), status, {**_HEADERS, **headers}, media_type="text/event-stream"
    )


async def _chunks(first: JobEvent, events: AsyncIterator[JobEvent]) -> AsyncGenerator[bytes]:
    if first.kind != "alive":
        yield b"retry: 1000\n"  # a field of the first event: ms until a client comes again
    yield _text(first)
    try:
        async for event in events:
            yield _text(event)
    except LaneworkError as error:  # the client comes again with Last-Event-ID
        yield f": {error.code}\n\n".encode()


def _text(event: JobEvent) -> bytes:
    if event.kind == "alive":
        return b": alive\n\n"
    data = codec.to_json(_data(event))
    return b"event: %s\nid: %s\ndata: %s\n\n" % (event.kind.encode(), str(event.position).encode(), data)


def _data(event: JobEvent) -> dict[str, Any]:
    if event.job is not None:
        return event.job.to_safe_json()
    if event.kind == "progress":
        return {"id": event.id, "attempt": event.attempt, "progress": codec.showable(event.progress)}
    return {"id": event.id, "status": event.status, "attempt": event.attempt} if event.kind == "status" else {}
