"""What attempts tell while they run: progress, output and log lines, sent together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runtime import log
from runtime.errors import StoreError
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Settlement
from runtime.store.group_commit import GroupCommit
from runtime.store.rows import Emitted
from runtime.values import codec, ids
from runtime.worker import lines
from runtime.worker.attempt import Attempt
from runtime.worker.held import Held
from runtime.worker.unsent import Unsent

_PAUSE = 0.05  # seconds between two calls: what comes meanwhile goes together
_TROUBLED = 0.5  # the same after one that failed
_CALL = 1 << 20  # the weight of one call


class Reports:
    """Sends what attempts report, again where Redis did not answer. An attempt's end takes along what has not come
    to Redis by then."""

    def __init__(self, stores: Mapping[int, AttemptStore], held: Held, settings: Settings) -> None:
        """Made on the event loop."""
        self._stores = stores
        self._held = held
        self._output_limit = settings.output_limit
        self._keeps_lines = settings.keep_log
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._reporting: dict[str, Attempt] = {}  # attempts with something still to be sent
        self._commit: GroupCommit[None] = GroupCommit(self._send, 1)
        self._log = log.get("worker")

    # called from any thread

    def progress(self, attempt: Attempt, report: dict[str, Any]) -> None:
        """Shows how far it is; the newest report counts."""
        self._on_loop(self._set_progress, attempt, codec.pack(report))

    def emit(self, attempt: Attempt, packed: bytes) -> None:
        """Keeps a chunk of its output."""
        self._on_loop(self._add_chunk, attempt, packed)

    def line(self, attempt: Attempt, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Keeps a line of its log."""
        if self._keeps_lines:
            self._on_loop(self._add_line, attempt, lines.packed(level, event, fields))

    def _on_loop(self, call: Callable[[Attempt, bytes], None], attempt: Attempt, packed: bytes) -> None:
        if threading.get_ident() == self._thread:
            call(attempt, packed)
        else:
            self._loop.call_soon_threadsafe(call, attempt, packed)

    # on the event loop

    def _set_progress(self, attempt: Attempt, packed: bytes) -> None:
        if self._held.holds(attempt):
            attempt.progress = packed
            self._wake(attempt)

    def _add_chunk(self, attempt: Attempt, packed: bytes) -> None:
        if self._held.holds(attempt):
            self._unsent(attempt).add_chunk(packed)
            self._wake(attempt)

    def _add_line(self, attempt: Attempt, packed: bytes) -> None:
        if self._held.holds(attempt):
            self._unsent(attempt).add_line(packed)
            self._wake(attempt)

    def take_along(self, attempt: Attempt, settlement: Settlement) -> Settlement:
        """The settlement with what has not been sent."""
        self._reporting.pop(attempt.taken.id, None)
        if attempt.progress:
            settlement = settlement._replace(progress=attempt.progress)
        if attempt.unsent is not None:
            settlement = settlement._replace(emitted=attempt.unsent.of(attempt.taken))
        return settlement

    def _unsent(self, attempt: Attempt) -> Unsent:
        if attempt.unsent is None:
            attempt.unsent = Unsent(self._output_limit)
        return attempt.unsent

    def _wake(self, attempt: Attempt) -> None:
        idle = not self._reporting
        self._reporting[attempt.taken.id] = attempt
        if idle:
            self._commit.add(None)

    async def _send(self, _: list[None]) -> None:
        pause = _PAUSE
        reporting, self._reporting = list(self._reporting.values()), {}
        by_shard: dict[int, list[Attempt]] = {}
        for attempt in reporting:
            by_shard.setdefault(ids.shard_of(attempt.taken.id), []).append(attempt)
        for shard, attempts in by_shard.items():
            try:
                await self._send_progress(self._stores[shard], [a for a in attempts if a.progress])
                for part in _parts([a for a in attempts if a.unsent is not None]):
                    await self._send_emitted(self._stores[shard], part)
            except StoreError as error:
                self._log.debug("report.unsent", error=str(error))
                pause = _TROUBLED
                for attempt in attempts:
                    if self._held.holds(attempt):
                        self._wake(attempt)
        await asyncio.sleep(pause)

    async def _send_progress(self, store: AttemptStore, attempts: list[Attempt]) -> None:
        reports = [(attempt, attempt.progress) for attempt in attempts]
        if reports:
            await store.progress([(attempt.taken, packed) for attempt, packed in reports])
        for attempt, packed in reports:
            if attempt.progress is packed:
                attempt.progress = b""

    async def _send_emitted(self, store: AttemptStore, part: list[tuple[Attempt, Emitted]]) -> None:
        await store.emit([emitted for _, emitted in part])
        for attempt, emitted in part:
            assert attempt.unsent is not None
            attempt.unsent.sent(emitted)


def _parts(attempts: list[Attempt]) -> Iterator[list[tuple[Attempt, Emitted]]]:
    """What goes into one call each: a call must not keep the server for long."""
    part: list[tuple[Attempt, Emitted]] = []
    size = 0
    for attempt in attempts:
        assert attempt.unsent is not None
        emitted = attempt.unsent.of(attempt.taken)
        if emitted.chunks or emitted.lines:
            part.append((attempt, emitted))
            size += emitted.weight
        if size > _CALL:
            yield part
            part, size = [], 0
    if part:
        yield part
