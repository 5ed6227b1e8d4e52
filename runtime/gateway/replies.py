"""Turns jobs into HTTP replies. One value that JSON cannot show does not break a page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from runtime.gateway.problems import json_reply, rendered_reply
from runtime.jobs.job import Job
from runtime.store.pages import Page
from runtime.values import codec

_TAG = re.compile(r'"[^"]*"')
_UNSHOWABLE = (TypeError, ValueError, RecursionError)


def job_reply(
    job: Job, status: int = 200, headers: dict[str, str] | None = None, extras: Mapping[str, Any] | None = None
) -> Response:
    """`extras`: further fields beside the job's own."""
    return rendered_reply(_render(job, extras or {}), status, headers)


def validated_reply(job: Job, status: int, headers: dict[str, str], known: str) -> Response:
    """The job with its entity tag, or 304 if the client has that version. `known`: the header If-None-Match
    (RFC 9110, section 13.1.2)."""
    body = _render(job, {})
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers["ETag"] = tag
    if matches(tag, known):
        return Response(None, 304, headers)
    return rendered_reply(body, status, headers)


def matches(tag: str, known: str) -> bool:
    """Whether the header If-None-Match names this entity tag."""
    return bool(known) and (known.strip() == "*" or tag in _TAG.findall(known))


def _render(job: Job, extras: Mapping[str, Any]) -> bytes:
    try:
        return codec.to_json({**job.to_json(), **extras})
    except _UNSHOWABLE:  # stored by somebody else, or by an older version
        return codec.to_json({**job.to_safe_json(), **extras})


def page_reply(page: Page) -> Response:
    """`partial`: the page is shorter than was asked for, and more may follow behind its cursor."""
    rest = {"cursor": page.cursor, "partial": page.partial}
    try:
        return json_reply({"jobs": [job.to_json() for job in page.jobs], **rest})
    except _UNSHOWABLE:
        return json_reply({"jobs": [job.to_safe_json() for job in page.jobs], **rest})


def result_reply(job: Job) -> Response:
    """The bare result."""
    try:
        return json_reply(job.result)
    except _UNSHOWABLE:
        return json_reply(codec.showable(job.result))
