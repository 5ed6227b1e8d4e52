"""Moves settled jobs from Redis into history: at least once, and by upsert, so each is there once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from runtime import log
from runtime.errors import HistoryRefused, HistoryUnavailable, StoreError
from runtime.history.writer import Writer
from runtime.jobs.job import Job
from runtime.store.archive import Archive, Entry
from runtime.store.rows import Archived
from runtime.values.clock import now_ms

_AT_ONCE = 2  # one reads from Redis while the other waits for the database
_ENTRIES = 50  # of each shard that are read at once
_JOBS = 1000  # that are written in one transaction
_LISTEN = 3.0  # seconds until it looks for what another left
_CLEAN_EVERY = 600.0  # seconds
_TAKE_OVER = 3.0  # seconds between looks for what another archiver left
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds before it tries again
Answer = TypeVar("Answer")


class Archiver:
    """One of the processes that write history; several share the work.

    A part is read from Redis, written to the database in one transaction, and then taken off its stream: whatever
    ends this in between, another does that part again, and finds the jobs there.
    """

    def __init__(
        self, archive: Archive, writer: Writer, wait: float, kept: Mapping[str, float] | None = None
    ) -> None:
        """`wait`: seconds that settled jobs wait for it at most. `kept`: for how long history keeps them, in
        seconds by function; None: for ever."""
        self._archive = archive
        self._writer = writer
        self._wait = wait
        self._kept = kept or {}
        self._cleaned_at = float("-inf")
        self._stopping = asyncio.Event()
        self._listening: set[asyncio.Task[list[Entry]]] = set()
        self._took_over_at = float("-inf")
        self._log = log.get("history")

    def stop(self) -> None:
        """`run` returns once what it has read is written, or cannot be now."""
        self._stopping.set()
        for listening in self._listening:
            listening.cancel()

    async def run(self) -> None:
        if await self._until_done(self._start) is None:
            return
        self._log.info("history.started")
        await asyncio.gather(*(self._work() for _ in range(_AT_ONCE)))

    async def _work(self) -> None:
        while not self._stopping.is_set():
            await self._until_done(self._clean)
            entries = await self._until_done(self._next)
            for part in _parts(entries or []):
                if await self._until_done(lambda part=part: self._move(part)) is None:  # type: ignore[misc]
                    return

    async def _start(self) -> bool:
        await self._archive.start(self._wait)
        return True

    async def _until_done(self, step: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """What the step returns; tried again while Redis or the database is away. None where it is to stop before
        that."""
        pause, is_away = _PAUSE, False
        while True:
            try:
                done = await step()
            except (StoreError, HistoryUnavailable) as error:
                if not is_away:
                    self._log.warning("history.away", code=error.code, error=str(error))
                is_away = True
            else:
                if is_away:
                    self._log.info("history.back")
                return done
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self._stopping.is_set():
                return None
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _clean(self) -> bool:
        """Deletes what has been kept long enough, now and then."""
        if self._kept and time.monotonic() - self._cleaned_at >= _CLEAN_EVERY:
            before, self._cleaned_at = self._cleaned_at, time.monotonic()
            try:
                deleted = await self._writer.delete_expired(self._kept, now_ms())
            except HistoryUnavailable:
                self._cleaned_at = before
                raise
            if deleted:
                self._log.info("history.deleted", jobs=deleted)
        return True

    async def _next(self) -> list[Entry]:
        if time.monotonic() - self._took_over_at >= _TAKE_OVER:
            if left := await self._archive.abandoned(_ENTRIES):
                return left
            await self._archive.start(self._wait)  # its mark may have been lost with the server's data
            self._took_over_at = time.monotonic()
        listening = asyncio.create_task(self._archive.next(_ENTRIES, _LISTEN))
        self._listening.add(listening)
        try:
            return await listening
        except asyncio.CancelledError:
            if self._stopping.is_set():
                return []  # what it was just given, the next takes over
            raise
        finally:
            self._listening.discard(listening)

    async def _move(self, part: Sequence[Entry]) -> bool:
        """Entries of one shard."""
        shard = part[0].shard
        rows = {row.id.decode(): row for entry in part for row in entry.jobs}
        found = await self._archive.jobs(shard, list(rows))
        if missing := found.count(None):
            self._log.warning("history.missed", jobs=missing, why="their records had gone")
        settled = [job for job in found if job is not None and job.settled]  # one that runs again will come again
        await self._write(settled)
        shorter = [
            Archived(job.id, job.finished_at, rows[job.id].shorter)
            for job in settled
            if rows[job.id].shorter and job.finished_at is not None
        ]
        await self._archive.taken(shard, [entry.id for entry in part], shorter)
        return True

    async def _write(self, settled: Sequence[Job]) -> None:
        if not settled:
            return
        try:
            await self._writer.write(settled)
        except HistoryRefused:
            for job in settled:  # the others are not to wait for the one that the database does not take
                await self._write_alone(job)

    async def _write_alone(self, job: Job) -> None:
        try:
            try:
                await self._writer.write([job])
            except HistoryRefused:
                await self._writer.write([job], searched=False)
        except HistoryRefused as error:
            self._log.error("history.refused", job=job.id, function=job.type, error=str(error))


def _parts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries of one shard with some thousand jobs."""
    for _, of_shard in groupby(entries, key=lambda entry: entry.shard):
        part: list[Entry] = []
        count = 0
        for entry in of_shard:
            part.append(entry)
            count += len(entry.jobs)
            if count >= _JOBS:
                yield part
                part, count = [], 0
        if part:
            yield part
