"""A job whose body is its payload alone: what else is wanted stands in the query or in `Lanework-…` headers."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request

from runtime.gateway import requests
from runtime.gateway.problems import BadRequest
from runtime.jobs.request import OPTIONS, JobRequest

NAMES = tuple(name for name in OPTIONS if name not in ("then", "on"))  # the others are text or numbers
_HEADERS = {f"lanework-{name.replace('_', '-')}": name for name in NAMES}


async def read_payload_job(request: Request, function: str, limit: int) -> JobRequest:
    """A job of `function`. An empty body is no payload. Raises BadRequest and JobInvalid."""
    requests.refuse_foreign(request)  # an empty body has no media type, for which a page would need consent
    requests.refuse_unknown(request, {"wait", *NAMES})
    payload = await requests.read_json(request, limit) if requests.has_body(request) else None
    body = requests.with_callback({"type": function, "payload": payload, **_options(request)}, request)
    return JobRequest.parse(body, requests.key(request))


def _options(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {}
    pairs = [(_HEADERS[name], value) for name, value in request.headers.items() if name in _HEADERS]
    pairs += [(name, value) for name, value in request.query_params.items() if name in NAMES]
    for name, value in pairs:
        if name in options:
            raise BadRequest(422, "query-invalid", f"{name} is given twice, in the query or in headers: give one")
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> Any:
    """Times and lengths of time may be numbers as text; a number of attempts may not."""
    return int(text) if name == "max_attempts" and re.fullmatch("[0-9]{1,9}", text) else text
