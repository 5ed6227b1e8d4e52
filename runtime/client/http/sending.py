"""Requests for jobs and events as a gateway reads them, checked here as they are checked over Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from runtime.client.http.transport import packed, plain
from runtime.errors import JobInvalid, LaneworkError
from runtime.jobs.event import Event
from runtime.jobs.request import JobRequest
from runtime.values.clock import rfc3339
from runtime.values.durations import unix_ms

_KEY = re.compile("[!-~]{1,255}")  # what a header can carry
_PART = 1000  # jobs or events of one request
_PART_BYTES = 4 << 20
_TIMES = ("run_at", "start_before")


def body(request: JobRequest, *, follows: bool = False) -> dict[str, Any]:
    """What `JobRequest.parse` reads. Raises JobInvalid and PayloadInvalid, as storing it over Redis does."""
    request.check()
    request.brought()
    if request.key is not None:
        _check_key(request.key, follows=follows)
    checked = replace(request, key=None)
    checked.terms(None, None)
    options = {name: value for name, value in checked.as_options().items() if name not in ("key", "then")}
    for name in _TIMES:
        if isinstance(options.get(name), datetime):
            options[name] = rfc3339(unix_ms(options[name]))
    options["payload"] = plain(request.payload, request.type)
    if request.then:
        options["then"] = [body(follow_up, follows=True) for follow_up in request.then]
    return options


def line(request: JobRequest) -> bytes:
    """The same as an item of a batch. Raises as `body`."""
    options = body(request)
    return packed(options if request.key is None else {**options, "idempotency_key": request.key})


def event_item(event: Event, data: Any) -> bytes:
    """Raises EventInvalid, and PayloadInvalid for data that cannot be sent."""
    return packed({**Event.of(event.attributes).attributes, "data": plain(data, event.type)})


def parts(items: Sequence[bytes | LaneworkError]) -> Iterator[list[bytes]]:
    """Those that can be sent, as many at a time as one request has."""
    part: list[bytes] = []
    size = 0
    for item in items:
        if isinstance(item, LaneworkError):
            continue
        if part and (len(part) == _PART or size + len(item) > _PART_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item)
    if part:
        yield part


def _check_key(key: str, *, follows: bool) -> None:
    if follows:
        message = (
            "an idempotency key is for jobs that are enqueued from outside; a follow-up is stored with its job"
        )
    elif not _KEY.fullmatch(key):
        message = "over HTTP, an idempotency key has 1 to 255 visible characters of ASCII"
    else:
        return
    raise JobInvalid(f"key: {message}", [{"field": "/key", "message": message}])
