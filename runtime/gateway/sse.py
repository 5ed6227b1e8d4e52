"""A job's events as they happen (server-sent events, WHATWG HTML section 9.2), on the URL of the job itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runtime.client import Lanework
from runtime.client.watching import JobEvent
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.values import codec
from runtime.values.clock import rfc3339

Event = TypeVar("Event")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def is_wanted(request: Request) -> bool:
    """Whether the client prefers events to JSON: of those that take both, the first that it names."""
    return requests.prefers(request, "text/event-stream") and request.method != "HEAD"


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
    return reply(first, events, _text, status, headers)


def reply(
    first: Event,
    events: AsyncIterator[Event],
    text: Callable[[Event], bytes],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A stream of events, each rendered by `text`."""
    return StreamingResponse(
        _chunks(first, events, text), status, {**_HEADERS, **(headers or {})}, media_type="text/event-stream"
    )


async def _chunks(
    first: Event, events: AsyncIterator[Event], text: Callable[[Event], bytes]
) -> AsyncGenerator[bytes]:
    chunk = text(first)
    if not chunk.startswith(b":"):
        yield b"retry: 1000\n"  # a field of the first event: ms until a client comes again
    yield chunk
    try:
        async for event in events:
            yield text(event)
    except LaneworkError as error:  # the client comes again with Last-Event-ID
        yield f": {error.code}\n\n".encode()


def frame(kind: str, position: object, data: dict[str, Any]) -> bytes:
    """An event as its stream has it."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), str(position).encode(), codec.to_json(data))


def _text(event: JobEvent) -> bytes:
    return b": alive\n\n" if event.kind == "alive" else frame(event.kind, event.position, _data(event))


def _data(event: JobEvent) -> dict[str, Any]:
    if event.job is not None:
        return event.job.to_safe_json()
    if event.kind == "gap":
        return {"missed": event.missed, "of": event.value} if event.missed else {}
    shown: dict[str, Any] = {"id": event.id, "attempt": event.attempt}
    if event.kind == "progress":
        return {**shown, "progress": codec.showable(event.progress)}
    if event.kind == "output":
        return {**shown, "number": event.number, "output": codec.showable(event.value)}
    if event.kind == "log":
        return {**shown, **line_shown(event.value)}
    return {**shown, "status": event.status}


def line_shown(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a job's log, with its time as text."""
    shown = codec.showable(line)
    return {**shown, "at": rfc3339(line["at"])} if isinstance(line.get("at"), int) else shown
