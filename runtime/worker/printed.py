"""What handlers on the event loop and in threads print and log, with the attempt it belongs to."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO

from runtime import log


class _Lines:
    """What an attempt prints, line by line."""

    def __init__(self, speaker: log.Speaker) -> None:
        self._speaker = speaker
        self._quota = speaker.quota
        self._log = log.get("function").bind(**log.names(speaker.taken))
        self._rest = ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        if len(self._rest) > log.LINE:
            self.end()

    def end(self) -> None:
        if self._rest:
            self._tell(self._rest)
        self._rest = ""

    def _tell(self, line: str) -> None:
        admitted = self._quota.admit()
        if not admitted and not self._quota.is_cut:
            return
        outside = log.SPEAKER.set(None)  # the line has been counted: the log must not count it again
        if admitted:
            self._log.info("function.printed", line=line[: log.LINE])
            self._speaker.keep("info", "function.printed", {"line": line[: log.LINE]})
        else:
            self._log.warning("output.cut", lines=log.LINES)
        log.SPEAKER.reset(outside)


def end(speaker: log.Speaker) -> None:
    """Its attempt has ended: logs its last line, and how much was left out."""
    if speaker.output is not None:
        speaker.output.end()
    if speaker.said is not None and speaker.said.left_out:
        log.get("function").warning("output.left_out", **log.names(speaker.taken), lines=speaker.said.left_out)


class _Stream(io.TextIOBase):
    """A worker's standard output or error: what a handler prints goes to the log, all else to the stream below."""

    def __init__(self, below: TextIO) -> None:
        self._below = below

    def write(self, text: str) -> int:
        speaker = log.SPEAKER.get()
        if speaker is None:
            return self._below.write(text)
        if speaker.output is None:
            speaker.output = _Lines(speaker)
        speaker.output.write(text)
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
    """Sends what handlers print in this process to the log, which keeps its own stream."""
    sys.stdout, sys.stderr = _Stream(sys.stdout), _Stream(sys.stderr)
