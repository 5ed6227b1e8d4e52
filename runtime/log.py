"""Structured logs: events, not prose; for people on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from runtime.settings import Settings

_METHODS = ("debug", "info", "warning", "error", "critical", "exception")
_TAKEN = ("self", "event", "job", "function", "attempt", "version", "exc_info")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def get(part: str) -> Any:
    """A logger bound to a part of Lanework: worker, store, gateway, …"""
    return structlog.get_logger(part=part)


def tell(logger: Any, level: str, event: str, fields: dict[str, Any]) -> None:
    """Logs what a function's process said, under names that the log has not taken for itself."""
    method = getattr(logger, level if level in _METHODS else "info")
    method(event, **{f"{name}_" if name in _TAKEN else name: value for name, value in fields.items()})


def configure(settings: Settings) -> None:
    """Sets up structlog for this process; libraries' own warnings go the same way."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = _LEVELS[settings.log_level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if console:
        shared.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24))
    else:
        shared += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)


class _Forward(logging.Handler):
    """Standard logging of libraries, as events."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(part=record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library.said", message=record.getMessage(), exc_info=record.exc_info)
