"""Errors as gRPC shows them: a canonical code, and details in the messages that google.rpc has for them.

https://google.aip.dev/193
"""

from __future__ import annotations

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from runtime import log
from runtime.errors import (
    AccessDenied,
    AccessForbidden,
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
    NotReady,
    PayloadInvalid,
    QueueFull,
    RateExceeded,
    StatusConflict,
    StoreError,
)

DOMAIN = "lanework"
_MESSAGE = 1000  # characters
_DETAILS = 4096  # bytes: clients take 8 KiB of metadata, where they are
_CODES: dict[type[LaneworkError], int] = {
    AccessDenied: code_pb2.UNAUTHENTICATED,
    AccessForbidden: code_pb2.PERMISSION_DENIED,
    EventInvalid: code_pb2.INVALID_ARGUMENT,
    FunctionBroken: code_pb2.FAILED_PRECONDITION,
    FunctionInvalid: code_pb2.INVALID_ARGUMENT,  # one that a remote worker brings
    FunctionUnknown: code_pb2.NOT_FOUND,
    HistoryMissing: code_pb2.FAILED_PRECONDITION,
    HistoryUnavailable: code_pb2.UNAVAILABLE,
    JobFailed: code_pb2.FAILED_PRECONDITION,
    JobInvalid: code_pb2.INVALID_ARGUMENT,
    JobNotFound: code_pb2.NOT_FOUND,
    JobUnsettled: code_pb2.FAILED_PRECONDITION,
    KeyReused: code_pb2.ALREADY_EXISTS,
    LaneUnknown: code_pb2.INVALID_ARGUMENT,
    NotReady: code_pb2.UNAVAILABLE,
    PayloadInvalid: code_pb2.INVALID_ARGUMENT,
    QueueFull: code_pb2.RESOURCE_EXHAUSTED,
    RateExceeded: code_pb2.RESOURCE_EXHAUSTED,
    StatusConflict: code_pb2.FAILED_PRECONDITION,
    StoreError: code_pb2.UNAVAILABLE,
}
_RETRIED = (code_pb2.RESOURCE_EXHAUSTED, code_pb2.UNAVAILABLE)
# options of a job that are called otherwise in messages
_FIELDS = {
    "priority": "lane",
    "run_at": "execution_time_ms",
    "delay": "delay_ms",
    "ttl": "ttl_ms",
    "callback": "callback_url",
    "key": "idempotency_key",
}


class RequestInvalid(LaneworkError):
    """A message that is wrong in itself. `rpc_code`: its canonical code."""

    code = "request-invalid"
    rpc_code: int = code_pb2.INVALID_ARGUMENT

    def __init__(self, message: str, field: str = "") -> None:
        self.field, self.problem = field, message
        super().__init__(f"{field}: {message}" if field else message)


class TooLarge(RequestInvalid):
    """A message, or a part of it, that has more bytes than it may."""

    code = "too-large"
    rpc_code = code_pb2.RESOURCE_EXHAUSTED


class StreamCut(RequestInvalid):
    """A stream that the gateway ends before it is over: go on with another."""

    code = "stream-cut"
    rpc_code = code_pb2.UNAVAILABLE


def status_of(error: LaneworkError) -> status_pb2.Status:
    """One that no request can bring about is logged."""
    code = code_of(error)
    if code == code_pb2.INTERNAL:
        log.get("gateway").error("request.failed", code=error.code, exc_info=error)
    status = status_pb2.Status(code=code, message=str(error)[:_MESSAGE])
    _add(status, error_details_pb2.ErrorInfo(reason=reason_of(error), domain=DOMAIN))
    if code in _RETRIED and not isinstance(error, TooLarge):
        delay = duration_pb2.Duration(seconds=getattr(error, "retry_after", 1))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    violations = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in fields_of(error)]
    while violations:
        bad_request = error_details_pb2.BadRequest(field_violations=violations)
        if status.ByteSize() + bad_request.ByteSize() < _DETAILS:
            _add(status, bad_request)
            break
        violations.pop()
    return status


def code_of(error: LaneworkError) -> int:
    if isinstance(error, RequestInvalid):
        return error.rpc_code
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), code_pb2.INTERNAL)


def reason_of(error: LaneworkError) -> str:
    """The error's stable code, as ErrorInfo has reasons."""
    return error.code.upper().replace("-", "_")


def fields_of(error: LaneworkError) -> list[tuple[str, str]]:
    """The fields of the request that are wrong, and what is wrong with them."""
    if isinstance(error, RequestInvalid):
        return [(error.field, error.problem)] if error.field else []
    if isinstance(error, PayloadInvalid):
        return [(f"payload{e['field']}", e["message"]) for e in error.errors]
    if isinstance(error, JobInvalid):
        return [(_field(e["field"]), e["message"]) for e in error.errors]
    if isinstance(error, LaneUnknown):
        return [("lane", str(error))]
    return []


def _field(pointer: str) -> str:
    name, _, rest = pointer.removeprefix("/").partition("/")
    return _FIELDS.get(name, name) + (f"/{rest}" if rest else "")


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
