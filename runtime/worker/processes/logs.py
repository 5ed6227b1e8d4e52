"""What a child logs, sent to its worker: events of structlog, and what libraries say to `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_MAX_VALUE_CHARS = 2_000


def forward(say: Callable[[str, str, dict[str, Any]], None], level: int) -> None:
    """Passes what is logged at `level` or above (in `logging`, at least INFO) to `say`: method, event, fields."""

    def forwarded(_: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        fields = {str(key): plain(value) for key, value in event.items()}
        say(method, str(fields.pop("event", "")), fields)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, forwarded],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(level, logging.INFO), handlers=[_Library()], force=True)


def plain(value: Any) -> Any:
    """What any log can show: numbers and text that is valid Unicode."""
    if isinstance(value, (bool, float, type(None))) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    text = value if isinstance(value, str) else repr(value)[:_MAX_VALUE_CHARS]
    return text.encode("utf-8", "backslashreplace").decode()


class _Library(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("function")
        method = {logging.INFO: "info", logging.WARNING: "warning"}.get(record.levelno, "error")
        exc_info = record.exc_info or None
        getattr(log, method)("library.said", logger=record.name, message=record.getMessage(), exc_info=exc_info)
