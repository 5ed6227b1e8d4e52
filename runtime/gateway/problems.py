"""Errors as `application/problem+json` (RFC 9457), each with a stable `type`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime import log
from runtime.errors import (
    AccessDenied,
    AccessForbidden,
    ClientMissing,
    EventInvalid,
    FunctionBroken,
    FunctionInvalid,
    FunctionUnknown,
    HistoryMissing,
    HistoryUnavailable,
    JobFailed,
    JobInvalid,
    JobNotFound,
    JobUnsettled,
    KeyReused,
    LaneUnknown,
    LaneworkError,
    LoopChanged,
    NotReady,
    PayloadInvalid,
    QueueFull,
    RateExceeded,
    SettingsInvalid,
    StatusConflict,
    StoreError,
)
from runtime.values import codec

TYPES = "/problems/"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lanework"'}  # RFC 6750, section 3

_STATUS: dict[type[LaneworkError], int] = {
    AccessDenied: 401,
    AccessForbidden: 403,
    EventInvalid: 422,
    FunctionBroken: 409,
    FunctionUnknown: 404,
    HistoryMissing: 409,
    HistoryUnavailable: 503,
    JobFailed: 409,
    JobInvalid: 422,
    JobNotFound: 404,
    JobUnsettled: 409,
    KeyReused: 422,
    LaneUnknown: 422,
    NotReady: 503,
    PayloadInvalid: 422,
    QueueFull: 429,
    RateExceeded: 429,
    StatusConflict: 409,
    StoreError: 503,
    # faults of the gateway itself, which no request can bring about
    ClientMissing: 500,
    FunctionInvalid: 500,
    LoopChanged: 500,
    SettingsInvalid: 500,
}


class BadRequest(LaneworkError):
    """A request that is wrong in itself; `code` and `status` say how."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code  # type: ignore[misc]
        self.members = members


class _Json(Response):
    """Starlette's response with its headers made at once, at a third of the cost."""

    def __init__(self, body: bytes, status: int, headers: dict[str, str] | None) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
        ]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _Json(codec.to_json(body), status, headers)


def rendered_reply(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body that is JSON already."""
    return _Json(body, status, headers)


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    return _reply(_body(status, code, detail), headers)


def from_error(error: LaneworkError) -> Response:
    body = describe(error)
    headers = {401: _CHALLENGE, 429: _retry(error), 503: _retry(error)}.get(body["status"])
    return _reply(body, headers)


def _retry(error: LaneworkError) -> dict[str, str]:
    return {"Retry-After": str(getattr(error, "retry_after", 1))}


def describe(error: LaneworkError) -> dict[str, Any]:
    """The problem that an error is; one that no request can bring about is logged."""
    if isinstance(error, BadRequest):
        return _body(error.status, error.code, str(error), **error.members)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if status == 500:
        log.get("gateway").error("request.failed", code=error.code, exc_info=error)
    members: dict[str, Any] = {}
    if isinstance(error, (PayloadInvalid, JobInvalid, EventInvalid)):
        members["errors"] = error.errors
    elif isinstance(error, FunctionUnknown):
        members["near"] = error.near
    return _body(status, error.code, str(error), **members)


def _body(status: int, code: str, detail: str, **members: Any) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {"type": TYPES + code, "title": title, "status": status, "detail": detail, **members}


def _reply(body: dict[str, Any], headers: dict[str, str] | None) -> Response:
    return Response(codec.to_json(body), body["status"], headers, media_type="application/problem+json")
