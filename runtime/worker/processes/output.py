"""What a child prints and logs, line by line, for the attempt that it runs."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any, Protocol

from runtime import log

_TAIL = 30
_CHUNK = 1 << 18


class Sink(Protocol):
    """Receives what a child reports about an attempt."""

    def progress(self, report: dict[str, Any]) -> None: ...

    def emit(self, packed: bytes) -> None: ...

    def log(self, level: str, event: str, fields: dict[str, Any]) -> None: ...


class Output:
    """The read end of the pipe that is a child's standard output and error."""

    def __init__(self, pipe: int, loop: asyncio.AbstractEventLoop) -> None:
        self.sink: Sink | None = None
        self._pipe = pipe
        self._loop = loop
        self._line = b""
        self._quota = log.Quota()
        self._tail: deque[str] = deque(maxlen=_TAIL)
        loop.add_reader(pipe, self.read)

    def switch(self, sink: Sink | None) -> None:
        """Assigns further output to another attempt, or to none."""
        self._end_line()
        if self._quota.left_out and self.sink is not None:
            self.sink.log("warning", "output.left_out", {"lines": self._quota.left_out})
        self._quota = log.Quota()
        self._tail.clear()
        self.sink = sink

    @property
    def last_lines(self) -> str:
        """Such as where it crashed."""
        return "\n".join(self._tail)

    def read(self) -> None:
        """Reads what is there."""
        while True:
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._pipe)
                return
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                self._printed(line)
            if len(self._line) > log.LINE:
                self._end_line()
            if len(data) < _CHUNK:
                return

    def logged(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Passes on what it logged, within the attempt's quota."""
        if self.sink is None:
            return
        if self._quota.admit(level):
            self.sink.log(level, event, fields)
        elif self._quota.is_cut:
            self.sink.log("warning", "output.cut", {"lines": log.LINES})

    def end(self) -> None:
        """Reads the rest."""
        self.read()
        self._end_line()

    def close(self) -> None:
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        if line:
            self._printed(line)

    def _printed(self, line: bytes) -> None:
        text = line[: log.LINE].decode("utf-8", "backslashreplace")
        self._tail.append(text)
        self.logged("info", "function.printed", {"line": text})
