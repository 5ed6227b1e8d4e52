"""Values as bytes: a JSON text, or the bytes themselves."""

from __future__ import annotations

from typing import Any

from runtime.errors import JobInvalid
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.values import codec

Encoded = tuple[bytes, "pb.Encoding"]


def encode(value: Any) -> Encoded:
    """What JSON cannot show is shown as such."""
    if isinstance(value, bytes):
        return value, pb.ENCODING_BYTES
    try:
        return codec.to_json(value), pb.ENCODING_JSON
    except (TypeError, ValueError, RecursionError):
        return codec.to_json(codec.showable(value)), pb.ENCODING_JSON


def decode(data: bytes, encoding: pb.Encoding, field: str = "payload") -> Any:
    """`field`: what the bytes are, for errors. Without an encoding, a JSON object is one, nothing is None, and all
    else is bytes. Raises JobInvalid for what is not JSON although it says so."""
    if encoding == pb.ENCODING_BYTES:
        return data
    if encoding == pb.ENCODING_UNSPECIFIED:
        return _guessed(data)
    if encoding != pb.ENCODING_JSON:
        raise invalid(f"{field}_encoding", f"is ENCODING_JSON or ENCODING_BYTES, not {encoding}")
    try:
        return codec.from_json(data)
    except ValueError as error:
        raise invalid(field, f"is not JSON, although its encoding says so: {error}") from None


def _guessed(data: bytes) -> Any:
    if not data:
        return None
    if data.lstrip()[:1] == b"{":
        try:
            return codec.from_json(data)
        except ValueError:
            pass
    return data


def invalid(field: str, message: str) -> JobInvalid:
    """About a field of a message."""
    return JobInvalid(f"{field}: {message}", [{"field": f"/{field}", "message": message}])
