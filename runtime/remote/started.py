"""The jobs and events that a handler has started, as messages to the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime.handlers.context import Context
from runtime.jobs.event import Publication
from runtime.jobs.request import OPTIONS, JobRequest
from runtime.rpc.encoding import Encoded, invalid
from runtime.rpc.generated.lanework.v1 import jobs_pb2, worker_pb2
from runtime.values import codec, ids

_MAX_MESSAGE = 3 << 20  # bytes: a message that the gateway does not take would end the stream


def started_messages(context: Context, start_id: str) -> Iterator[worker_pb2.WorkRequest]:
    """Raises JobInvalid for what cannot be sent."""
    for started_id, started in context.requested:
        number = ids.distance(start_id, started_id)
        if isinstance(started, Publication):
            yield _checked(worker_pb2.WorkRequest(publish=_publish(number, started)))
        else:
            yield _checked(worker_pb2.WorkRequest(start=_start(number, started)))
    if context.follow_up is not None:
        follow_up_id, request = context.follow_up
        start = _start(ids.distance(start_id, follow_up_id), request)
        start.when_all_settled = True
        yield _checked(worker_pb2.WorkRequest(start=start))


def _checked(message: worker_pb2.WorkRequest) -> worker_pb2.WorkRequest:
    if message.ByteSize() > _MAX_MESSAGE:
        raise invalid("payload", f"has more than {_MAX_MESSAGE >> 20} MiB as JSON; pass large data by reference")
    return message


def _start(number: int, request: JobRequest) -> worker_pb2.Start:
    payload, encoding = _encoded("payload", request.payload)
    options = _options(request)
    job = jobs_pb2.EnqueueJobRequest(
        type=_text("type", request.type),
        payload=payload,
        payload_encoding=encoding,
        idempotency_key=_text("key", request.key or ""),
        options=_json("options", options).decode() if options else "",
    )
    return worker_pb2.Start(number=number, job=job)


def _publish(number: int, published: Publication) -> worker_pb2.Publish:
    event = published.event
    named = {"time": event.time, "datacontenttype": event.datacontenttype, "dataschema": event.dataschema}
    extensions = {name: value for name, value in named.items() if value is not None} | dict(event.extensions)
    data, encoding = _encoded("data", published.data)
    return worker_pb2.Publish(
        number=number,
        type=event.type,
        data=data,
        data_encoding=encoding,
        source=event.source,
        subject=event.subject or "",
        extensions=_json("extensions", extensions).decode(),
    )


def _options(request: JobRequest) -> dict[str, Any]:
    """Those that it has, as `POST /jobs` takes them."""
    options = {name: value for name in OPTIONS if (value := getattr(request, name)) not in (None, ())}
    if request.then:
        options["then"] = [
            {"type": after.type, "payload": after.payload, **_options(after)} for after in request.then
        ]
    return options


def _encoded(name: str, value: Any) -> Encoded:
    if isinstance(value, bytes):
        return value, jobs_pb2.ENCODING_BYTES
    return _json(name, value), jobs_pb2.ENCODING_JSON


def _json(name: str, value: Any) -> bytes:
    """Raises JobInvalid for what JSON cannot hold: the gateway would get something else."""
    try:
        return codec.to_exact_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(name, f"is not JSON: {error}") from None


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(name, f"is not valid Unicode: {error.reason}") from None
    return value
