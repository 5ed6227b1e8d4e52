"""Structured logs: events, not prose; for people on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

from runtime import tracing
from runtime.settings import Settings

_METHODS = ("debug", "info", "warning", "error", "critical", "exception")
_TAKEN = ("self", "event", "job", "function", "attempt", "version", "exc_info", "part", "worker", "request")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


# without local variables, among which secrets and payloads are
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


class Attempted(Protocol):
    """An attempt, as far as the log names it."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def attempt(self) -> int: ...


LINES = 1_000  # of an attempt
LINE = 4_000  # characters of one
_WHOLE = ("traceback", "exception", "stack")  # tracebacks are bounded where they are made
_LOUD = ("warning", "error", "critical", "exception")


class Quota:
    """How much of what an attempt says reaches the log: 1,000 lines, and 1,000 warnings and errors besides."""

    __slots__ = ("left_out", "lines", "warnings")

    def __init__(self) -> None:
        self.lines = self.warnings = self.left_out = 0

    def admit(self, method: str = "info") -> bool:
        """Counts a line; whether it reaches the log. `method`: of the logger."""
        if method in _LOUD:
            self.warnings += 1
            admitted = self.warnings <= LINES
        else:
            self.lines += 1
            admitted = self.lines <= LINES
        self.left_out += not admitted
        return admitted

    @property
    def is_cut(self) -> bool:
        """Whether the line that was refused was the first one."""
        return self.left_out == 1


class Speaker:
    """An attempt whose handler runs in this process, as the log knows it: its names, and what it has said so far.

    `output`: the line that it prints. `said`: None for nothing, as nearly always.
    """

    __slots__ = ("output", "said", "taken")

    def __init__(self, taken: Attempted) -> None:
        self.taken = taken
        self.output: Any = None
        self.said: Quota | None = None

    def keep(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Gets each line that reaches the log."""

    @property
    def quota(self) -> Quota:
        if self.said is None:
            self.said = Quota()
        return self.said


REQUEST: ContextVar[str] = ContextVar("request", default="")  # the id of the request that is being answered
SPEAKER: ContextVar[Speaker | None] = ContextVar("speaker", default=None)  # whose handler runs here


def names(attempt: Attempted) -> dict[str, Any]:
    return {"job": attempt.id, "function": attempt.type, "attempt": attempt.attempt}


def _of_attempt(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whatever a handler logs, by whichever logger, names its attempt, and counts as its."""
    speaker = SPEAKER.get()
    if (trace := tracing.CURRENT.get()) is not None:
        event.setdefault("trace_id", trace.id)
    if speaker is None:
        if (request := REQUEST.get()) != "":
            event["request"] = request
        return event
    if speaker.quota.admit(method):
        named = _named(names(speaker.taken), event)
        speaker.keep(method, str(named["event"]), named)
        return named
    if speaker.quota.is_cut:
        return {**names(speaker.taken), "event": "output.cut", "lines": LINES}
    raise structlog.DropEvent


def _named(own: dict[str, Any], event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An event under its attempt's names, which it cannot change; long text is cut."""
    renamed = {f"{name}_": event[name] for name, value in own.items() if event.get(name, value) != value}
    event = {**event, **renamed, **own}
    for name, value in event.items():
        if isinstance(value, str) and len(value) > LINE and name not in _WHOLE:
            event[name] = value[:LINE]
    return event


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
        _of_attempt,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if console:
        plain = structlog.dev.plain_traceback  # rich's shows local variables: secrets and payloads are among them
        colors = sys.stderr.isatty()
        shared += [
            _one_line,
            structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain),
        ]
    else:
        shared += [structlog.processors.ExceptionRenderer(_TRACEBACKS), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.INFO), handlers=[_Forward()], force=True)


def _one_line(_: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """On a terminal an event is a line, and a traceback is indented: what one says cannot look like another."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.splitlines() if name == "traceback" else [value]
            event[name] = "\n    ".join(_printable(line) for line in lines)
    return event


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Forward(logging.Handler):
    """Standard logging, as events: of handlers from INFO on, of libraries besides from WARNING on."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and SPEAKER.get() is None:
            return
        log = structlog.get_logger(part=record.name)
        say = {logging.INFO: log.info, logging.WARNING: log.warning}.get(record.levelno, log.error)
        try:
            message = record.getMessage()
        except Exception:  # its arguments do not fit; no handler of `logging` raises for that
            message = str(record.msg)
        say("library.said", message=message, exc_info=record.exc_info)
