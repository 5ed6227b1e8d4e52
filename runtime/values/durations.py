"""Lengths of time, points in time and rates, as people write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LENGTH = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d|w)?\s*")
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})?\s*(ms|s|m|h|d|w)\s*")
_MAX_SECONDS = 100 * 365 * 86_400.0
_MIN_KEPT = 1000  # ms
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LEAP_SECOND = re.compile(r"(:[0-5][0-9]):60")
_MAX_UNIX_MS = 221_845_132_800_000  # the year 9000: with what is added to it, times keep four-digit years


def seconds(value: float | str) -> float:
    """Seconds from a number of them, or from text such as "500ms", "10m" or "7d". Raises ValueError."""
    if isinstance(value, str):
        found = _LENGTH.fullmatch(value)
        if not found:
            raise ValueError(
                f'{value[:50]!r} is no length of time: give seconds, or text such as "30s", "10m", "7d"'
            )
        value = float(found[1]) * _UNITS[found[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_SECONDS:
        raise ValueError('a length of time is 0 or more seconds, or text such as "30s", "10m", "7d"')
    return float(value)


def kept_ms(seconds: float) -> int:
    """ms for which a settled job is kept; at least a second, so that waiting clients see it."""
    return max(_MIN_KEPT, int(seconds * 1000))


def unix_ms(value: float | str | datetime) -> int:
    """Unix milliseconds from such a number, or from RFC 3339 with a zone. Raises ValueError."""
    message = 'a time is Unix milliseconds or RFC 3339 with a zone, such as "2030-01-31T09:00:00Z"'
    if isinstance(value, str) and re.fullmatch(r"[0-9]{9,15}", value):  # as in a query; "2030" is no time
        value = int(value)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", value.upper()))
        except ValueError:
            raise ValueError(message) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(message)
        value = round((value - _EPOCH) / _MILLISECOND)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 is an integer of JSON too
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_UNIX_MS:
        raise ValueError(f"{message}, from 1970 to 9000")
    return value


def rate(value: str) -> tuple[float, int]:
    """Seconds from one start to the next, and how many may start at once, from text such as "100/m" or "5/10s".

    Starts are spread evenly; a fast rate lets a tenth of a second's worth start together. Raises ValueError.
    """
    every, _count = allowance(value)
    return every, max(1, math.floor(0.1 / every))


def allowance(value: str) -> tuple[float, int]:
    """Seconds from one to the next, and how many may come at once: as many as the text says. Raises ValueError."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not found or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise ValueError(f'{value!r} is not a rate: give text such as "100/m", "10/s" or "5/10s"')
    every = int(found[2] or 1) * _UNITS[found[3]] / int(found[1])
    if every > 366 * 86_400:
        raise ValueError("a rate is at least one a year")
    return every, int(found[1])
