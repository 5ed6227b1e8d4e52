"""What handlers on the event loop and in threads print and log, told with the attempt that said it."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO

from runtime import log

LINES = 1_000  # of one attempt that reach the log; what it prints beyond is counted
LINE = 4_000


class _Lines:
    """The lines of one attempt."""

    def __init__(self, attempt: log.Attempted) -> None:
        self.attempt = attempt  # held, so that no other can have its identity meanwhile
        self._log = log.get("function").bind(**log.names(attempt))
        self._rest = ""
        self._count = self._cut = 0

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
        if self._cut:
            self._log.warning("output.cut", lines=LINES, characters_left_out=self._cut)

    def _tell(self, line: str) -> None:
        if self._count >= LINES:
            self._cut += len(line) + 1
            return
        self._count += 1
        self._log.info("function.printed", line=line[:LINE])


_lines: dict[int, _Lines] = {}  # of attempts that run and print, by their identity
_running: set[int] = set()


class By:
    """What is printed and logged within is the attempt's. A class, because each attempt pays for it."""

    __slots__ = ("_attempt", "_before")

    def __init__(self, attempt: log.Attempted) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._before = log.ATTEMPT.set(self._attempt)
        _running.add(id(self._attempt))

    def __exit__(self, *_: object) -> None:
        log.ATTEMPT.reset(self._before)
        _running.discard(id(self._attempt))
        if _lines and (lines := _lines.pop(id(self._attempt), None)):
            lines.end()


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
            if id(attempt) in _running:
                _lines[id(attempt)] = lines
        lines.write(text)
        if id(attempt) not in _running:  # a thread or a task that goes on after its attempt: nobody ends its lines
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
