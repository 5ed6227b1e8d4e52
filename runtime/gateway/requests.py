"""Reading requests: what a body and headers may have, and clear errors for the rest."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from runtime.gateway.problems import BadRequest
from runtime.jobs.request import JobRequest
from runtime.values import codec
from runtime.values import scoped_key as keys

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})")
_LENIENT = re.compile(r"handling\s*=\s*\"?lenient")
_SMALL = re.compile(r"[0-9]{1,6}")
MAX_WAIT = 60.0


async def read_job(request: Request, limit: int) -> JobRequest:
    """Raises BadRequest (400, 413, 415 or 422) and JobInvalid."""
    body = await read_json(request, limit)
    if not isinstance(body, dict):
        raise BadRequest(422, "job-invalid", 'a job is an object, such as {"type": "echo", "payload": {}}')
    return JobRequest.parse(with_callback(body, request), key(request))


def with_callback(body: dict[str, Any], request: Request) -> dict[str, Any]:
    """The job, with the callback of the header `X-Callback-Url`, as OpenFaaS has it. Raises BadRequest: 422."""
    url = named_headers(request.scope).get(b"x-callback-url")
    if url is None:
        return body
    if body.get("callback") is not None:
        raise BadRequest(422, "job-invalid", "X-Callback-Url and callback: give one of them")
    return {**body, "callback": url.decode("latin-1")}


def key(request: Request) -> str | None:
    """The `Idempotency-Key`, in the scope of the caller: keys of two callers never meet."""
    own = named_headers(request.scope).get(b"idempotency-key")
    if own is None:
        return None
    if not re.fullmatch(rb"[!-~]{1,255}", own):
        raise BadRequest(422, "job-invalid", "Idempotency-Key has 1 to 255 visible characters")
    return scoped_key(request, own.decode())


def scoped_key(request: Request, own: str) -> str:
    """An idempotency key as it is stored for this caller: of an access key, or else of these credentials."""
    caller = request.scope.get("lanework.caller") or header(request, b"authorization")
    return keys.scoped_key(caller, own)


def has_body(request: Request) -> bool:
    """Whether a body comes (RFC 9112, section 6.3)."""
    return header(request, b"content-length") not in ("", "0") or bool(header(request, b"transfer-encoding"))


def refuse_unknown(request: Request, known: set[str]) -> None:
    """Refuses parameters of the query that would be ignored. Raises BadRequest: 422."""
    if not request.scope["query_string"]:
        return
    query = request.query_params
    if unknown := set(query) - known:
        there_are = f": there are {', '.join(sorted(known))}" if known else " here: there is none"
        raise BadRequest(422, "query-invalid", f"no parameter {', '.join(sorted(unknown))}{there_are}")
    if len(pairs := query.multi_items()) > len(query):
        names = ", ".join(sorted({name for name in query if sum(one == name for one, _ in pairs) > 1}))
        raise BadRequest(422, "query-invalid", f"{names}: given more than once; give one value")


def prefers(request: Request, kind: str) -> bool:
    """Whether this is the media type that the client names first among those that it accepts."""
    accepted = header(request, b"accept")
    if accepted in ("", "*/*"):
        return False
    first = accepted.partition(",")[0].partition(";")[0]
    return first.strip().lower() == kind


def media_type(request: Request) -> str:
    """The body's, without parameters; "" where none is named."""
    kind = header(request, b"content-type")
    return kind if kind == "application/json" else kind.partition(";")[0].strip().lower()


async def read_json(request: Request, limit: int) -> Any:
    kind = media_type(request)
    if kind != "application/json" and not kind.endswith("+json"):
        # also what keeps a page elsewhere from posting jobs to localhost: JSON needs its consent (CORS)
        problem = f"not {kind}" if kind else "and this request names no media type"
        raise BadRequest(415, "not-json", f"send JSON with the header Content-Type: application/json, {problem}")
    try:
        return codec.from_json(await read_body(request, limit))
    except ValueError as error:
        raise BadRequest(400, "bad-json", f"the body is not JSON: {error}") from None


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, straight from the server: Starlette's own way there costs as much as parsing it.

    Raises BadRequest: 413.
    """
    length = header(request, b"content-length") or "0"
    body: bytes = b""
    unfinished = length.isdecimal() and int(length) <= limit
    while unfinished and len(body) <= limit:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        unfinished = message.get("more_body", False)
        if not unfinished and len(body) <= limit:
            return body
    raise BadRequest(413, "too-large", f"a body has at most {limit} bytes; pass large data by reference")


def header(request: Request, name: bytes) -> str:
    """A header's value or ""; far cheaper than Starlette's mapping, which matters for each request."""
    value = named_headers(request.scope).get(name)
    return "" if value is None else str(value, "latin-1")


def named_headers(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name, the first of each; made once a request."""
    named: dict[bytes, bytes] | None = scope.get("lanework.headers")
    if named is None:
        named = scope["lanework.headers"] = dict(reversed(scope["headers"]))
    return named


def lenient(request: Request) -> bool:
    """`Prefer: handling=lenient` (RFC 7240): take a default in place of what is out of range."""
    return bool(_LENIENT.search(header(request, b"prefer")))


def wait(request: Request) -> float:
    """Seconds to wait for a job to settle, at most 60: `Prefer: wait=N` (RFC 7240), or `?wait=N`.

    Raises BadRequest: 422.
    """
    preferred = header(request, b"prefer")
    if preferred and (found := _WAIT.search(preferred)):
        return min(MAX_WAIT, float(found[1]))
    if not request.scope["query_string"]:
        return 0.0
    seconds = request.query_params.get("wait", "0")
    if not _SMALL.fullmatch(seconds):
        raise BadRequest(422, "query-invalid", "wait is a number of seconds")
    return min(MAX_WAIT, float(seconds))


def if_none_match(request: Request) -> str:
    return header(request, b"if-none-match")


async def read_object(request: Request, limit: int, known: set[str]) -> dict[str, Any]:
    """A JSON object with no other names than `known`. Raises BadRequest."""
    body = await read_json(request, limit)
    if not isinstance(body, dict) or body.keys() - known:
        raise BadRequest(422, "body-invalid", f"send a JSON object with any of {', '.join(sorted(known))}")
    return body


def refuse_foreign(request: Request) -> None:
    """Refuses what a page of another site sends: a request without a body needs no consent (CORS).

    Browsers say where a request comes from (Fetch Metadata, and the Origin header); programs say nothing.
    """
    site, origin = header(request, b"sec-fetch-site"), header(request, b"origin")
    origins = request.scope.get("lanework.origins", ())
    if origin and (origin in origins or "*" in origins):
        return
    foreign = site in ("cross-site", "same-site") or (not site and origin not in ("", _own_origin(request)))
    if foreign:
        raise BadRequest(403, "foreign-page", "a page of another site cannot ask for this")


def _own_origin(request: Request) -> str:
    return f"{request.url.scheme}://{header(request, b'host')}"
