"""What a service is to those who serve it: methods by name, whatever protocol a call comes by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from runtime.rpc.status import RequestInvalid

# `caller`: who asks, in whose scope idempotency keys are
Unary = Callable[[Any, str], Awaitable[Message]]
Collecting = Callable[[AsyncIterator[Any], str], Awaitable[Message]]
Streaming = Callable[[Any, str], AsyncIterator[Message]]
Conversing = Callable[[AsyncIterator[Any], str], AsyncIterator[Message]]


class Service(NamedTuple):
    """`unary`: methods of one request and one response. `collecting`: of a stream of requests. `streaming`: of a
    stream of responses. `conversing`: of both."""

    descriptor: ServiceDescriptor
    unary: Mapping[str, Unary] = {}
    collecting: Mapping[str, Collecting] = {}
    streaming: Mapping[str, Streaming] = {}
    conversing: Mapping[str, Conversing] = {}

    def path(self, method: str) -> str:
        """As HTTP/2 has it, and Connect."""
        return f"/{self.descriptor.full_name}/{method}"


def request_type(method: MethodDescriptor) -> type[Message]:
    return GetMessageClass(method.input_type)


def parsed(kind: type[Message], data: bytes) -> Any:
    """Raises RequestInvalid."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RequestInvalid(f"this is no {kind.DESCRIPTOR.full_name}") from None
