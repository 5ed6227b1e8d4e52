"""Log lines as their job keeps them: some kilobytes each, whatever was logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from runtime.values import codec
from runtime.values.clock import now_ms
from runtime.worker.processes.logs import plain

_LIMIT = 4096  # bytes
_TEXT = 1000  # characters of a text in a line that is too large
_LEVELS = {"exception": "error", "warn": "warning", "fatal": "critical"}
_OWN = ("job", "function", "attempt", "event", "trace_id")  # the job and its event say these


def packed(level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    """Packs a line. `fields`: all but its event. It never raises, whatever they are: a log call must
    not fail a handler."""
    try:
        return _packed(level, event, fields)
    except Exception as error:
        return codec.pack(
            {"at": now_ms(), "level": level, "event": "line.unreadable", "fields": {"error": repr(error)}}
        )


def _packed(level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    shown: dict[str, Any] = structlog.processors.format_exc_info(None, level, dict(fields))  # type: ignore[assignment]
    line = {
        "at": now_ms(),
        "level": _LEVELS.get(level, level),
        "event": plain(event),
        "fields": {plain(str(name)): plain(value) for name, value in shown.items() if name not in _OWN},
    }
    whole = codec.pack(line)
    if len(whole) <= _LIMIT:
        return whole
    kept = {
        name[:_TEXT]: value[:_TEXT] if isinstance(value, str) else value for name, value in line["fields"].items()
    }
    cut = codec.pack({**line, "event": line["event"][:_TEXT], "fields": kept})
    if len(cut) <= _LIMIT:
        return cut
    return codec.pack({**line, "event": line["event"][:_TEXT], "fields": {"cut": True}})
