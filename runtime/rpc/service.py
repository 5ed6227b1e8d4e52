"""What a service is to those who serve it: methods by name, whatever protocol a call comes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from runtime.rpc.status import RequestInvalid

# from a request, or a stream of requests, and who asks, in whose scope idempotency keys are: a response, or a
# stream of responses, as the descriptor says
Call = Callable[[Any, str], Any]


class Service(NamedTuple):
    """`methods`: what answers, by the methods' names; one that is not there is not implemented."""

    descriptor: ServiceDescriptor
    methods: Mapping[str, Call]

    @property
    def unary(self) -> list[MethodDescriptor]:
        """Those of one request and one response."""
        return [m for m in self.descriptor.methods if not m.client_streaming and not m.server_streaming]

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
