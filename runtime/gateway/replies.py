"""Turns jobs into HTTP replies. One value that JSON cannot show does not break a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from runtime.gateway.problems import json_reply
from runtime.jobs.job import Job
from runtime.store.listing import Page
from runtime.values import codec

_UNSHOWABLE = (TypeError, ValueError, RecursionError)


def job_reply(
    job: Job, status: int = 200, headers: dict[str, str] | None = None, extras: Mapping[str, Any] | None = None
) -> Response:
    """`extras`: further fields beside the job's own."""
    try:
        return json_reply({**job.to_json(), **(extras or {})}, status, headers)
    except _UNSHOWABLE:  # stored by somebody else, or by an older version
        return json_reply({**job.to_safe_json(), **(extras or {})}, status, headers)


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
