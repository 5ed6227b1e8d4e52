"""Callbacks: the URL to call once a job has settled, and the statuses for which to call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

EVENTS = ("completed", "failed", "cancelled")
MAX_CALLBACKS = 10
_MAX_URL = 2000


class Callback(NamedTuple):
    """`on`: some of EVENTS."""

    url: str
    on: Sequence[str] = EVENTS


def parse(value: Any) -> list[Callback]:
    """From a URL, an object {"url", "on"}, or a list of these. Raises ValueError."""
    values = value if isinstance(value, (list, tuple)) and not isinstance(value, Callback) else [value]
    if not 1 <= len(values) <= MAX_CALLBACKS:
        raise ValueError(f"is a URL, or a list of up to {MAX_CALLBACKS}")
    return [_callback(one) for one in values]


def _callback(value: Any) -> Callback:
    if isinstance(value, Callback):
        value = value._asdict()
    if isinstance(value, str):
        value = {"url": value}
    if not isinstance(value, Mapping) or value.keys() - {"url", "on"} or "url" not in value:
        raise ValueError('is a URL, or an object such as {"url": "https://…", "on": ["failed"]}')
    on = value.get("on")
    events = EVENTS if on is None else (on,) if isinstance(on, str) else on
    if events == ("settled",):
        events = EVENTS
    if not isinstance(events, (list, tuple)) or not events or not all(event in EVENTS for event in events):
        raise ValueError(f"on is some of {', '.join(EVENTS)}")
    return Callback(_url(value["url"]), tuple(dict.fromkeys(events)))


def _url(value: Any) -> str:
    message = "is a URL that begins with https:// or http://, such as https://example.com/hook"
    if not isinstance(value, str) or len(value) > _MAX_URL or not value.isprintable() or " " in value:
        raise ValueError(message)
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(message) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(message)
    if parts.username is not None or parts.password is not None:
        raise ValueError("has no user or password: the job shows it; the signature tells the receiver who sends")
    try:
        import httpx  # the library that sends it decides, if it is installed; importing it is slow
    except ModuleNotFoundError:
        return value
    try:
        httpx.URL(value)
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError(message) from None
    return value
