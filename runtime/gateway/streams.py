"""A job's events as they happen (server-sent events, WHATWG HTML section 9.2), on the URL of the job itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runtime.client import Lanework
from runtime.client.watching import JobEvent
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.jobs.job import Job
from runtime.values import codec

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def is_wanted(request: Request) -> bool:
    """Whether the client prefers events to JSON: of those that take both, the first that it names."""
    first = requests.header(request, b"accept").partition(",")[0].partition(";")[0]
    return first.strip().lower() == "text/event-stream" and request.method != "HEAD"


async def stream(lanework: Lanework, request: Request, job_id: str, status: int = 200, **headers: str) -> Response:
    """Answers with the job's events; `Last-Event-ID` goes on behind one. Raises JobNotFound before it answers."""
    after = requests.header(request, b"last-event-id") or None
    await lanework.get(job_id)
    chunks = _chunks(lanework.watch(job_id, after))
    return StreamingResponse(chunks, status, {**_HEADERS, **headers}, media_type="text/event-stream")


async def _chunks(events: AsyncIterator[JobEvent]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n"  # of the first event: ms until a client comes again
    try:
        async for event in events:
            yield b": alive\n\n" if event.kind == "alive" else _text(event)
    except LaneworkError as error:  # the client comes again with Last-Event-ID
        yield f": {error.code}\n\n".encode()


def _text(event: JobEvent) -> bytes:
    data = codec.to_json(_data(event.kind, event.job))
    return b"event: %s\nid: %s\ndata: %s\n\n" % (event.kind.encode(), str(event.position).encode(), data)


def _data(kind: str, job: Job) -> dict[str, Any]:
    if kind == "settled":
        return job.to_safe_json()
    if kind == "progress":
        return {"id": job.id, "attempt": job.attempt, "progress": codec.showable(job.progress)}
    return {"id": job.id, "status": job.status, "attempt": job.attempt}
