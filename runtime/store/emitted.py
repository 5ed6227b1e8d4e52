"""What attempts emitted and logged: read back, from any place on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from runtime.errors import StoreError
from runtime.store.connect import Redis, translated
from runtime.store.keys import Keys
from runtime.store.wire import Command
from runtime.values import codec, ids

PART = 200  # entries that one call reads; with chunks of some kilobytes that is about a megabyte


class Mark(NamedTuple):
    """Where an entry stands: its attempt, and its number among those of its attempt."""

    attempt: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}-{self.number}"


START = Mark()  # before all entries


class Entry(NamedTuple):
    """A chunk or a line."""

    mark: Mark
    value: Any


class EmittedStore:
    """The chunks and lines of all jobs."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def chunks(self, job_id: str, after: Mark = START) -> list[Entry]:
        """The next of what was emitted, if anything."""
        (entries,) = await self._read((self._keys.output(ids.shard_of(job_id), job_id), after))
        return entries

    async def lines(self, job_id: str, after: Mark = START) -> list[Entry]:
        """The next of what was logged, if anything."""
        (entries,) = await self._read((self._keys.lines(ids.shard_of(job_id), job_id), after))
        return entries

    async def both(self, job_id: str, output: Mark, lines: Mark) -> tuple[list[Entry], list[Entry]]:
        """The next of each, in one round trip."""
        shard = ids.shard_of(job_id)
        chunks, logged = await self._read(
            (self._keys.output(shard, job_id), output), (self._keys.lines(shard, job_id), lines)
        )
        return chunks, logged

    async def _read(self, *places: tuple[str, Mark]) -> Sequence[list[Entry]]:
        commands: list[Command] = [("XRANGE", key, f"({after}", "+", "COUNT", PART) for key, after in places]
        with translated():
            replies = await self._client.wire.call(*commands)
        if refused := [reply for reply in replies if isinstance(reply, Exception)]:
            raise StoreError(f"Redis refused: {refused[0]}")
        return [[_entry(*row) for row in reply] for reply in replies]


def _entry(entry: bytes, fields: list[bytes]) -> Entry:
    attempt, _, number = entry.partition(b"-")
    return Entry(Mark(int(attempt), int(number)), codec.unpack_any(fields[1]))
