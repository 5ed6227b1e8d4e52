"""Reading requests: what a body and a query may say, and clear errors for the rest."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from starlette.requests import Request

from runtime import codec
from runtime.client import MOST_ATTEMPTS
from runtime.gateway.problems import BadRequest
from runtime.job import STATUSES

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})")
_LENIENT = re.compile(r"handling\s*=\s*\"?lenient")
_SMALL = re.compile(r"[0-9]{1,6}")
MOST_WAIT = 60.0


class JobRequest(NamedTuple):
    """What a client asks for with a new job."""

    type: str
    payload: Any
    priority: str | int | None
    max_attempts: int | None


async def read_job(request: Request, limit: int) -> JobRequest:
    """Raises BadRequest: 400, 413, 415 or 422."""
    body = await _read_json(request, limit)
    if not isinstance(body, dict):
        raise BadRequest(422, "job-invalid", 'a job is an object, such as {"type": "echo", "payload": {}}')
    known = {"type", "job_type", "payload", "input", "priority", "max_attempts"}
    if unknown := body.keys() - known:
        errors = [{"field": f"/{name}", "message": "is not a field of a job"} for name in sorted(unknown)]
        raise BadRequest(422, "job-invalid", f"a job has {', '.join(sorted(known))}", errors=errors)
    type_ = _either(body, "type", "job_type")
    if not isinstance(type_, str):
        told = "is required" if type_ is None else "is the name of a function"
        raise _field("/type", told, 'name the function, such as {"type": "echo"}')
    priority = body.get("priority")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, (str, int))):
        raise _field("/priority", "is a lane's name or number", "give priority as a lane's name or number")
    attempts = body.get("max_attempts")
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS):
        told = f"a number from 1 to {MOST_ATTEMPTS}"
        raise _field("/max_attempts", f"is {told}", f"give max_attempts as {told}")
    return JobRequest(type_, _either(body, "payload", "input"), priority, attempts)


def _field(field: str, message: str, detail: str) -> BadRequest:
    return BadRequest(422, "job-invalid", detail, errors=[{"field": field, "message": message}])


def _either(body: dict[str, Any], name: str, alias: str) -> Any:
    if name in body and alias in body and body[name] != body[alias]:
        raise _field(f"/{alias}", f"differs from {name}", f"{alias} is another word for {name}: give one of them")
    return body[name] if name in body else body.get(alias)


async def _read_json(request: Request, limit: int) -> Any:
    kind = _header(request, b"content-type")
    if kind != "application/json":
        kind = kind.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # also what keeps a page elsewhere from posting jobs to localhost: JSON needs its consent (CORS)
        told = f"not {kind}" if kind else "and this request names no media type"
        raise BadRequest(415, "not-json", f"send JSON with the header Content-Type: application/json, {told}")
    try:
        return codec.from_json(await _read(request, limit))
    except ValueError as error:
        raise BadRequest(400, "bad-json", f"the body is not JSON: {error}") from None


async def _read(request: Request, limit: int) -> bytes:
    length = _header(request, b"content-length")
    if length.isdecimal() and int(length) <= limit:
        return await request.body()
    body = b""
    if not length:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
        else:
            return body
    raise BadRequest(413, "too-large", f"a body has at most {limit} bytes; pass large data by reference")


def _header(request: Request, name: bytes) -> str:
    """A header's value or ""; far cheaper than Starlette's mapping, which matters for each request."""
    for key, value in request.scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def lenient(request: Request) -> bool:
    """`Prefer: handling=lenient` (RFC 7240): take a default in place of what is out of range."""
    return bool(_LENIENT.search(_header(request, b"prefer")))


def wait(request: Request) -> float:
    """`Prefer: wait=N` (RFC 7240): seconds that the client would wait for a job to settle, at most 60."""
    found = _WAIT.search(_header(request, b"prefer"))
    return min(MOST_WAIT, float(found[1])) if found else 0.0


class Query(NamedTuple):
    """What a list of jobs is asked for with."""

    limit: int
    cursor: str | None
    type: str | None
    status: str | None


def read_query(request: Request) -> Query:
    """Raises BadRequest: 422."""
    query = request.query_params
    if unknown := set(query) - {"limit", "cursor", "type", "status"}:
        raise BadRequest(
            422, "query-invalid", f"no parameter {', '.join(sorted(unknown))}: limit, cursor, type, status"
        )
    limit = query.get("limit", "50")
    if not _SMALL.fullmatch(limit) or not 1 <= int(limit) <= 500:
        raise BadRequest(422, "query-invalid", "limit is a number from 1 to 500")
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise BadRequest(422, "query-invalid", f"status is one of {', '.join(STATUSES)}")
    return Query(int(limit), query.get("cursor"), query.get("type"), status)
