"""What handlers on the event loop and in threads print and log, told with the attempt that said it."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO

from runtime import log

LINE = 4_000


class _Lines:
    """The lines of one attempt."""

    def __init__(self, attempt: log.Attempted) -> None:
        self.attempt = attempt  # held, so that no other can have its identity meanwhile
        self._log = log.get("function").bind(**log.names(attempt))
        self._rest = ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        if len(self._rest) > LINE:
            self._tell(self._rest)
            self._rest = ""

    def end(self) -> None:
        if self._rest:
            self._tell(self._rest)

    def _tell(self, line: str) -> None:
        if log.room(self.attempt):
            self._log.info(log.PRINTED, line=line[:LINE])


_lines: dict[int, _Lines] = {}  # of attempts that run and print, by their identity


class By:
    """What is printed and logged within is the attempt's. A class, because each attempt pays for it."""

    __slots__ = ("_attempt", "_before")

    def __init__(self, attempt: log.Attempted) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._before = log.ATTEMPT.set(self._attempt)
        log.lines[id(self._attempt)] = 0

    def __exit__(self, *_: object) -> None:
        log.ATTEMPT.reset(self._before)
        if _lines and (lines := _lines.pop(id(self._attempt), None)):
            lines.end()
        cut = log.lines.pop(id(self._attempt)) - log.LINES
        if cut > 0:
            told = log.names(self._attempt)
            log.get("function").warning("output.cut", **told, lines=log.LINES, lines_left_out=cut)


class _Output(io.TextIOBase):
    """Standard output of a worker: an attempt's lines go to the log, all else where it went."""

    def __init__(self, below: TextIO) -> None:
        self._below = below

    def write(self, text: str) -> int:
        attempt = log.ATTEMPT.get()
        if attempt is None:
            return self._below.write(text)
        lines = _lines.get(id(attempt))
        if lines is None or lines.attempt is not attempt:
            lines = _Lines(attempt)
            if id(attempt) in log.lines:
                _lines[id(attempt)] = lines
        lines.write(text)
        if id(attempt) not in log.lines:  # a thread or a task that goes on after its attempt: nobody ends its lines
            lines.end()
        return len(text)

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:  # buffer, reconfigure and the like are the stream's own
        return getattr(self._below, name)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._below.errors

    def flush(self) -> None:
        self._below.flush()

    def fileno(self) -> int:
        return self._below.fileno()

    def isatty(self) -> bool:
        return self._below.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._below.encoding


def capture() -> None:
    """From now on what handlers print in this process reaches the log. The log itself has its stream already."""
    sys.stdout, sys.stderr = _Output(sys.stdout), _Output(sys.stderr)
