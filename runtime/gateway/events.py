"""`POST /events`: CloudEvents 1.0 over HTTP, structured, binary and batched, in JSON.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.client.publishing import Published
from runtime.errors import EventInvalid, LaneworkError
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import BadRequest, describe, json_reply
from runtime.jobs.event import Event
from runtime.values import codec

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MAX_EVENTS = 1000
_HOW = f"send {STRUCTURED}, {BATCHED}, or the headers ce-id, ce-source, ce-type and ce-specversion"
_PREFIX = "ce-"
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)


class EventsApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit
        self._batch_limit = lanework.settings.batch_limit

    async def publish(self, request: Request) -> Response:
        """202 with the ids of the jobs that the event became, or, of a batch, what came of each event: 207 where
        one was refused."""
        requests.refuse_unknown(request, set())
        kind = requests.media_type(request)
        if kind == BATCHED:
            return await self._publish_batch(request)
        if kind == STRUCTURED:
            event = _structured(await requests.read_json(request, self._body_limit))
        elif not kind.startswith("application/cloudevents") and any(
            name.startswith(_PREFIX) for name in request.headers
        ):
            event = _binary(request.headers, kind, await requests.read_body(request, self._body_limit))
        else:
            raise BadRequest(415, "not-an-event", f"this is no CloudEvent: {_HOW}")
        (published,) = await self._lanework.publish_many([event])
        if isinstance(published, LaneworkError):
            raise published
        return json_reply(_shown(published), 202)

    async def _publish_batch(self, request: Request) -> Response:
        items = await requests.read_json(request, self._batch_limit)
        if not isinstance(items, list) or len(items) > MAX_EVENTS:
            raise BadRequest(422, "batch-invalid", f"a batch is an array of up to {MAX_EVENTS} CloudEvents")
        read = [_read(item) for item in items]
        published = iter(await self._lanework.publish_many([event for event in read if isinstance(event, tuple)]))
        results = [next(published) if isinstance(event, tuple) else event for event in read]
        refused = sum(isinstance(result, LaneworkError) for result in results)
        shown = [
            {"problem": describe(result)} if isinstance(result, LaneworkError) else _shown(result)
            for result in results
        ]
        body = {"published": len(results) - refused, "refused": refused, "results": shown}
        return json_reply(body, 207 if refused else 202)


def paths(lanework: Lanework) -> Paths:
    return {"/events": {"POST": EventsApi(lanework).publish}}


def _shown(published: Published) -> dict[str, Any]:
    event = published.event
    return {"id": event.id, "source": event.source, "jobs": published.jobs, "new": published.new}


def _read(item: Any) -> tuple[Event, Any] | LaneworkError:
    try:
        return _structured(item)
    except EventInvalid as error:
        return error


def _structured(item: Any) -> tuple[Event, Any]:
    """Raises EventInvalid."""
    if not isinstance(item, dict):
        message = "is an object with the attributes and the data of a CloudEvent"
        raise EventInvalid(f"an event {message}", [{"field": "", "message": message}])
    attributes = {name: value for name, value in item.items() if name not in ("data", "data_base64")}
    encoded, data = item.get("data_base64"), item.get("data")
    if encoded is not None:
        data = _decoded(encoded, data)
    return _event(attributes), data


def _decoded(encoded: Any, data: Any) -> bytes:
    try:
        if data is None and isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        pass
    raise _wrong("data_base64", "is base64, and stands in place of data")


def _binary(headers: Headers, kind: str, body: bytes) -> tuple[Event, Any]:
    """Attributes in headers, the body as data. Raises EventInvalid, BadRequest."""
    attributes: dict[str, Any] = {}
    for name, value in headers.items():
        attribute = name.removeprefix(_PREFIX)
        if attribute == name:
            continue
        if attribute in attributes:
            raise _wrong(attribute, "is given twice")
        attributes[attribute] = _attribute(value)
    attributes |= {"datacontenttype": headers["content-type"]} if kind else {}
    return _event(attributes), _data(kind, headers.get("content-type", ""), body)


def _attribute(value: str) -> str:
    """A header's value, which may be a quoted string, and is percent-encoded UTF-8 (section 3.1.3.2).

    The SDK for JavaScript encodes nothing: a percent sign that begins no escape is one, and bytes that are no UTF-8
    are Latin-1.
    """
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    octets = unquote_to_bytes(value.encode("latin-1"))
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _event(attributes: dict[str, Any]) -> Event:
    """Raises EventInvalid, also where it does not name its version."""
    return Event.of({**attributes, "specversion": attributes.get("specversion") or ""})


def _data(kind: str, content_type: str, body: bytes) -> Any:
    """JSON where nothing else is said, text as text, anything else as bytes. Raises BadRequest."""
    if not body:
        return None
    try:
        if not kind or kind.endswith(("/json", "+json")):
            return codec.from_json(body)
        charset = _CHARSET.search(content_type)
        return body.decode(charset[1] if charset else "utf-8") if kind.startswith("text/") else body
    except (ValueError, LookupError) as error:  # no Unicode, and no charset that is known
        raise BadRequest(400, "bad-json", f"the data is not {content_type or 'JSON'}: {error}") from None


def _wrong(attribute: str, problem: str) -> EventInvalid:
    return EventInvalid(f"{attribute} {problem}", [{"field": f"/{attribute}", "message": problem}])
