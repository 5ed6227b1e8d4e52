"""What an attempt has emitted and logged, until it is known to be in Redis."""

from __future__ import annotations

from collections import deque

from runtime.store.attempts import Taken
from runtime.store.rows import Chunk, Emitted, Line

_CHUNK_OVERHEAD = 256  # bytes that a chunk counts beside its own: many small ones are bounded too
LINES = 200  # of a job; the script that keeps them has the same


class Unsent:
    """Its chunks and lines, the newest of each."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of output that are kept."""
        self._limit = limit
        self._chunks: deque[Chunk] = deque()
        self._lines: deque[Line] = deque()
        self._sizes: deque[int] = deque()  # of the chunks that are kept, sent or not
        self._kept = self._last_chunk = self._last_line = 0

    def add_chunk(self, packed: bytes) -> None:
        self._last_chunk += 1
        self._sizes.append(len(packed) + _CHUNK_OVERHEAD)
        self._kept += self._sizes[-1]
        while self._kept > self._limit and len(self._sizes) > 1:
            self._kept -= self._sizes.popleft()
        oldest = self._last_chunk - len(self._sizes) + 1
        self._chunks.append(Chunk(self._last_chunk, oldest, packed))
        while self._chunks[0].number < oldest:
            self._chunks.popleft()

    def add_line(self, packed: bytes) -> None:
        self._last_line += 1
        self._lines.append(Line(self._last_line, packed))
        if len(self._lines) > LINES:
            self._lines.popleft()

    def of(self, taken: Taken) -> Emitted:
        return Emitted(taken.id, taken.type, taken.attempt, tuple(self._chunks), tuple(self._lines))

    def sent(self, emitted: Emitted) -> None:
        """Forgets what has come to Redis."""
        for mine, theirs in ((self._chunks, emitted.chunks), (self._lines, emitted.lines)):
            while theirs and mine and mine[0].number <= theirs[-1].number:
                mine.popleft()
