"""Changes of jobs as they happen: one stream a shard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from runtime.errors import StoreError
from runtime.store.connect import OVERDUE, Redis, translated
from runtime.store.keys import Keys
from runtime.store.rows import Change
from runtime.values import codec

BLOCK_MS = 10_000
_LAST = 999_999  # behind every change of an entry
_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})\.([0-9]{1,6})")


class Position(NamedTuple):
    """Where a change stands in its shard's stream: the entry's id, and its place in the entry."""

    ms: int
    number: int
    place: int

    @classmethod
    def of(cls, entry: bytes, place: int) -> Position:
        ms, _, number = entry.partition(b"-")
        return cls(int(ms), int(number), place)

    @classmethod
    def behind(cls, entry: bytes) -> Position:
        """The position behind all changes of an entry."""
        return cls.of(entry, _LAST)

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """From what `str` made of one; None for other text."""
        found = _POSITION.fullmatch(text)
        return cls(*map(int, found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}.{self.place}"


BEGINNING = Position(0, 0, 0)  # before anything has happened


class Events:
    """A shard's events."""

    def __init__(self, blocking: Redis, keys: Keys, shard: int) -> None:
        self._blocking = blocking
        self._key = keys.events(shard)
        self._last: bytes | str = "$"

    async def open(self) -> None:
        """Events after this call are read."""
        with translated():
            async with asyncio.timeout(OVERDUE):
                newest = await cast("Any", self._blocking.xrevrange(self._key, count=1))
        self._last = newest[0][0] if newest else "0-0"

    async def read(self) -> list[tuple[Position, Change]]:
        """The next changes; waits for them, at most 10 s. Raises StoreUnavailable where the connection hangs."""
        with translated():
            async with asyncio.timeout(BLOCK_MS / 1000 + OVERDUE):
                reply = await cast("Any", self._blocking.xread({self._key: self._last}, count=100, block=BLOCK_MS))
        changes: list[tuple[Position, Change]] = []
        for _stream, entries in reply or ():
            self._last = entries[-1][0]
            changes += _changes((entry, fields[b"jobs"]) for entry, fields in entries)
        return changes

    async def newest(self) -> Position:
        """The position behind all changes so far."""
        with translated():
            found = await self._blocking.wire.execute_command("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        return Position.behind(found[0][0]) if found else BEGINNING

    async def since(self, last: Position) -> list[tuple[Position, Change]] | None:
        """The changes after `last`; None where some may have been dropped, or `last` is of no change so far."""
        key = self._key
        with translated():
            replies = await self._blocking.wire.call(
                ("XRANGE", key, "-", "+", "COUNT", 1),
                ("XREVRANGE", key, "+", "-", "COUNT", 1),
                ("XRANGE", key, f"{last.ms}-{last.number}", "+"),
            )
        if refused := [reply for reply in replies if isinstance(reply, Exception)]:
            raise StoreError(f"Redis refused: {refused[0]}")
        oldest, newest, later = replies
        if last == BEGINNING:
            return await self._all(later)
        if not oldest or not Position.of(oldest[0][0], 0) <= last <= Position.behind(newest[0][0]):
            return None
        return [(at, change) for at, change in _changes((entry, row[1]) for entry, row in later) if at > last]

    async def _all(self, entries: Sequence[tuple[bytes, list[bytes]]]) -> list[tuple[Position, Change]] | None:
        """All changes since there is a stream; None where some were dropped."""
        if entries:
            with translated():
                flat = await self._blocking.wire.execute_command("XINFO", "STREAM", self._key)
            about = dict(zip(flat[::2], flat[1::2], strict=True))
            if about[b"entries-added"] != about[b"length"]:
                return None
        return list(_changes((entry, row[1]) for entry, row in entries))


def _changes(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[Position, Change]]:
    for entry, packed in entries:
        for place, row in enumerate(codec.unpack(packed)):
            yield Position.of(entry, place), Change(*row)
