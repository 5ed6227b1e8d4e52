"""`POST /lanework.v1.JobService/…`: methods of one request and one response, as Connect has them, JSON or binary.

https://connectrpc.com/docs/protocol
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.gateway.endpoint import Handler, Paths
from runtime.gateway.inflate import inflated
from runtime.gateway.problems import BadRequest, from_error, json_reply
from runtime.values import codec

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

    from runtime.rpc.service import Call

_PATH = re.compile(r"/[a-z0-9.]+\.[A-Z][A-Za-z]+/[A-Z][A-Za-z]+")
_JSON, _BINARY = "application/json", "application/proto"
_MILLISECONDS = re.compile(r"[0-9]{1,10}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_TIMEOUT = "deadline_exceeded"
# codes by their numbers in google.rpc.Code, and the HTTP status of each
_CODES = {
    1: ("canceled", 499),
    2: ("unknown", 500),
    3: ("invalid_argument", 400),
    4: (_TIMEOUT, 504),
    5: ("not_found", 404),
    6: ("already_exists", 409),
    7: ("permission_denied", 403),
    8: ("resource_exhausted", 429),
    9: ("failed_precondition", 400),
    10: ("aborted", 409),
    11: ("out_of_range", 400),
    12: ("unimplemented", 501),
    13: ("internal", 500),
    14: ("unavailable", 503),
    15: ("data_loss", 500),
    16: ("unauthenticated", 401),
}


def paths(lanework: Lanework) -> Paths:
    """None where the extra `grpc` is not installed, which has the messages."""
    if find_spec("grpc") is None:
        return {}
    from runtime.rpc.go_job_queue import go_job_queue_service
    from runtime.rpc.jobs import Jobs, job_service

    jobs = Jobs(lanework)
    limit = 2 * lanework.settings.body_limit  # base64 makes a third more of a payload, which has a limit of its own
    return {
        service.path(method.name): {"POST": _handler(method, service.methods[method.name], limit)}
        for service in (job_service(jobs), go_job_queue_service(jobs))
        for method in service.unary
    }


def is_method(path: str) -> bool:
    """Whether this is a service's method, and so described by its .proto file."""
    return _PATH.fullmatch(path) is not None


def explain(path: str, error: LaneworkError) -> Response:
    """The error as a client on this path understands it."""
    if not is_method(path):
        return from_error(error)
    if (
        isinstance(error, BadRequest) and error.status == 415
    ):  # as the protocol has it: for programs that are none of its
        return json_reply({"code": "unknown", "message": str(error)}, 415, {"Accept-Post": f"{_JSON}, {_BINARY}"})
    from runtime.rpc.status import RequestInvalid, TooLarge, status_of

    if isinstance(error, BadRequest):
        error = TooLarge(str(error)) if error.status == 413 else RequestInvalid(str(error))
    return _error_reply(status_of(error))


def _handler(method: MethodDescriptor, call: Call, limit: int) -> Handler:
    from runtime.rpc.service import request_type

    kind = request_type(method)

    async def answer(request: Request) -> Response:
        requests.refuse_unknown(request, set())
        media_type = requests.media_type(request)
        if media_type not in (_JSON, _BINARY):
            raise BadRequest(415, "not-json", f"send {_JSON}, or {_BINARY}")
        message = _read(kind, await _body(request, limit), media_type)
        caller = request.scope.get("lanework.caller") or requests.header(request, b"authorization")
        seconds = _seconds(request)
        try:
            async with asyncio.timeout(seconds):
                response = await call(message, caller)
        except TimeoutError:
            return json_reply({"code": _TIMEOUT, "message": f"no answer within {seconds:g} s"}, 504)
        return _reply(response, media_type)

    return answer


async def _body(request: Request, limit: int) -> bytes:
    body = b""
    async for chunk in inflated(request):
        body += chunk
        if len(body) > limit:
            raise BadRequest(413, "too-large", f"a body has at most {limit} bytes; pass large data by reference")
    return body


def _read(kind: type[Message], body: bytes, media_type: str) -> Any:
    """Raises BadRequest and RequestInvalid."""
    from google.protobuf import json_format

    from runtime.rpc.service import parsed

    if media_type == _BINARY:
        return parsed(kind, body)
    try:
        fields = codec.from_json(body or b"{}")
        if not isinstance(fields, dict):
            raise ValueError("it is no object")
        _check_bytes(kind, fields)
        return json_format.ParseDict(fields, kind())
    except (json_format.Error, ValueError, RecursionError) as error:
        raise BadRequest(400, "bad-json", f"this is no {kind.DESCRIPTOR.full_name}: {error}") from None


def _check_bytes(kind: type[Message], fields: dict[str, Any]) -> None:
    """The parser takes what is no base64 for some bytes or other. Raises ValueError."""
    for field in kind.DESCRIPTOR.fields:
        if field.type != field.TYPE_BYTES:
            continue
        text = fields.get(field.json_name, fields.get(field.name))
        if text is not None and not (isinstance(text, str) and _BASE64.fullmatch(text)):
            raise ValueError(f"{field.name} is base64, such as e30= for {{}}")


def _seconds(request: Request) -> float | None:
    """Until the client gives up. Raises BadRequest."""
    text = requests.header(request, b"connect-timeout-ms")
    if not text:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise BadRequest(400, "bad-json", "Connect-Timeout-Ms has up to ten digits")
    return int(text) / 1000


def _reply(message: Message, media_type: str) -> Response:
    if media_type == _BINARY:
        return Response(message.SerializeToString(), media_type=_BINARY)
    from google.protobuf import json_format

    return json_reply(json_format.MessageToDict(message))


def _error_reply(status: Status) -> Response:
    code, http_status = _CODES[status.code]
    details = [_detail(detail.type_url.rpartition("/")[2], detail.value) for detail in status.details]
    return json_reply({"code": code, "message": status.message, "details": details}, http_status)


def _detail(kind: str, value: bytes) -> Mapping[str, str]:
    return {"type": kind, "value": base64.b64encode(value).decode().rstrip("=")}
