"""Events as CloudEvents 1.0 has them, and the functions that subscribe to them.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import translate
from typing import Any

from runtime.errors import EventInvalid, FieldError
from runtime.jobs.request import JobRequest
from runtime.values import codec
from runtime.values.clock import now_ms, rfc3339

MAX_ATTRIBUTES_CHARS = 8192
MAX_LENGTH = 1024  # characters of each attribute
_REQUIRED = ("id", "source", "type")
_OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")
_RESERVED = ("data", "data_base64", "specversion")
_NAME = re.compile(r"[a-z0-9]{1,64}")
_INT32 = 1 << 31
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)  # RFC 3339, section 5.6
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Event:
    """The attributes of an event; its data is what its subscribers get as payload.

    `source` and `id` name the event: the same two again are the same event. `time`: when it happened, RFC 3339.
    `extensions`: further attributes, which are text, numbers or booleans.
    """

    type: str
    source: str
    id: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, str | int | bool]:
        """Those that it has, by name, `specversion` among them."""
        named = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        own = {name: value for name, value in named.items() if value is not None}
        return {"specversion": "1.0", **own, **self.extensions}

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Event:
        """From attributes by name; one that is null is not there. Raises EventInvalid that names each field."""
        present = {name: _whole(value) for name, value in attributes.items() if value is not None}
        if errors := list(_problems(present)):
            details = "; ".join(f"{error['field'][1:]} {error['message']}" for error in errors[:3])
            raise EventInvalid(f"this is no CloudEvent: {details}", errors)
        named = {name: present.pop(name) for name in (*_REQUIRED, *_OPTIONAL) if name in present}
        present.pop("specversion", None)
        return cls(**named, extensions=present)

    @classmethod
    def of_job(cls, job_id: str, type: str, created_at: int) -> Event:
        """What a handler gets whose job came of no event: one that names the job."""
        return cls(type, "lanework", job_id, time=rfc3339(created_at))


@dataclass(frozen=True, slots=True)
class Publication:
    """An event that an attempt publishes if it completes."""

    event: Event
    data: Any = None

    @classmethod
    def of(
        cls, id: str, type: str, source: str, subject: str | None, extensions: Mapping[str, Any], data: Any
    ) -> Publication:
        """Of an event that happens now. `extensions`: further attributes. Raises EventInvalid."""
        if reserved := sorted(extensions.keys() & {"id", "type", "source", "subject"}):
            message = "is not to be given: an attempt's event is published once"
            message = message if reserved[0] == "id" else "is no extension"
            raise EventInvalid(f"{reserved[0]} {message}", [{"field": f"/{reserved[0]}", "message": message}])
        own = {"type": type, "source": source, "id": id, "subject": subject}
        return cls(Event.of({"time": rfc3339(now_ms()), **extensions, **own}), data)


@dataclass(slots=True)
class Subscribed(JobRequest):
    """A request for a subscriber's job. Only its key identifies it: the same event sent again is a duplicate."""

    event: Event | None = None

    @property
    def plain(self) -> bool:
        return False

    def digest(self) -> str:
        return "event"

    def extras(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        assert self.event is not None
        return {**JobRequest.extras(self, *arguments, **named), "event": codec.pack(self.event.attributes)}


def key_of(event: Event, function: str) -> str:
    """The idempotency key of a subscriber's job."""
    name = hashlib.blake2b(f"{len(event.source)}:{event.source}{event.id}".encode(), digest_size=16)
    return f"event:{function}:{name.hexdigest()}"


class Subscription:
    """Which events a function wants: of these types, and with these attributes."""

    def __init__(self, on: Sequence[str], where: Mapping[str, Sequence[str]]) -> None:
        """Patterns, in which `*` stands for any text."""
        self._types = _any_of(on)
        self._filters = {name: _any_of(patterns) for name, patterns in where.items()}

    def wants(self, event: Event) -> bool:
        if not self._types.fullmatch(event.type):
            return False
        if not self._filters:
            return True
        attributes = event.attributes
        return all(
            name in attributes and pattern.fullmatch(_text(attributes[name]))
            for name, pattern in self._filters.items()
        )


def check_subscription(on: Any, where: Any) -> tuple[list[str], dict[str, list[str]]]:
    """The patterns of `@function(on=…, where=…)`. Raises ValueError."""
    types = _patterns("on", on, 'such as on="order.created"')
    if not isinstance(where, Mapping):
        raise ValueError('where is patterns by attribute, such as where={"source": "/shop/*"}')
    if where and not types:
        raise ValueError("where needs on: which events the function subscribes to")
    for name in where:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
            raise ValueError(f"where: {name!r} is no attribute of an event, such as source or subject")
    return types, {
        name: _patterns(f"where: {name}", patterns, "such as /shop/*") for name, patterns in where.items()
    }


def _patterns(name: str, value: Any, hint: str) -> list[str]:
    patterns = (value,) if isinstance(value, str) else value
    if not isinstance(patterns, (tuple, list)) or not all(isinstance(p, str) and p for p in patterns):
        raise ValueError(f"{name} is a pattern or a list of some, {hint}")
    return list(patterns)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """Only `*` is a wildcard: brackets and question marks may be part of a source."""
    return re.compile("|".join(translate(re.sub(r"([?\[])", r"[\1]", pattern)) for pattern in patterns))


def _text(value: str | int | bool) -> str:
    """As CloudEvents writes a value (section 3.1, "Type System")."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _problems(attributes: Mapping[str, Any]) -> Iterable[FieldError]:
    if attributes.get("specversion", "1.0") != "1.0":
        yield _problem("specversion", "is 1.0")
    for name in _REQUIRED:
        if name not in attributes:
            yield _problem(name, "is required")
    for name, value in attributes.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED[:2]:
            yield _problem(str(name)[:64], "is not the name of an attribute: a-z and 0-9")
        elif name in _REQUIRED or name in _OPTIONAL:
            yield from _problems_of_own(name, value)
        elif not _is_value(value):
            yield _problem(name, "is text without control characters, a 32-bit number or a boolean")
    if len(repr(attributes)) > MAX_ATTRIBUTES_CHARS:
        yield _problem("", f"attributes have at most {MAX_ATTRIBUTES_CHARS} characters in all")


def _problems_of_own(name: str, value: Any) -> Iterable[FieldError]:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        yield _problem(name, "is text without control characters, and not empty")
    elif len(value) > MAX_LENGTH:
        yield _problem(name, f"has at most {MAX_LENGTH} characters")
    elif name == "time" and not _is_time(value):
        yield _problem(name, "is a time with its zone (RFC 3339), such as 2026-01-31T10:00:00Z")


def _is_time(value: str) -> bool:
    try:
        return bool(_TIME.fullmatch(value.upper()) and datetime.fromisoformat(value.upper()))
    except ValueError:
        return False


def _whole(value: Any) -> Any:
    """1.0 is an integer of JSON too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return _CONTROL.search(value) is None
    return isinstance(value, int) and -_INT32 <= value < _INT32


def _problem(name: str, message: str) -> FieldError:
    return {"field": f"/{name}", "message": message}
