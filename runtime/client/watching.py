"""Watching a job: what happens to it, as it happens; and reading what it has emitted and logged."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from runtime.client.connection import Connection
from runtime.client.deadline import within
from runtime.jobs.job import SETTLED, Job
from runtime.store.emitted import PART, Entry, Mark
from runtime.store.events import Position
from runtime.store.record import shown_status
from runtime.store.rows import Change
from runtime.values.shards import Shards

Kind = Literal["status", "progress", "output", "log", "settled", "gap", "alive"]
_PLACE = re.compile(r"([0-9.-]+)(?:o([0-9]{1,9})-([0-9]{1,15}))?(?:l([0-9]{1,9})-([0-9]{1,15}))?(e?)")


class Place(NamedTuple):
    """How far a job was followed: through its changes, its output and its log, and whether its end was told. As
    text, an event's `position`."""

    change: Position
    output: Mark = Mark()
    log: Mark = Mark()
    over: bool = False

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """From what `str` made of one; None for other text."""
        found = _PLACE.fullmatch(text)
        change = Position.parse(found[1]) if found else None
        if found is None or change is None:
            return None
        numbers = [int(number or 0) for number in found.groups()[1:5]]
        return cls(change, Mark(*numbers[:2]), Mark(*numbers[2:]), bool(found[6]))

    def __str__(self) -> str:
        output = f"o{self.output}" if self.output.number else ""
        log = f"l{self.log}" if self.log.number else ""
        return f"{self.change}{output}{log}" + ("e" if self.over else "")


class JobEvent(NamedTuple):
    """`status`: the job has another status. `progress`: a report came. `output`: a chunk was emitted. `log`: a
    line was logged. `settled`: it is over. `gap`: what happened between the position asked for and now is no
    longer kept, or `missed` chunks or lines of an attempt are not. `alive`: nothing has happened for a while.

    `id`: the job's. `position`: to go on from. `status` and `attempt`: as the event left them. `progress`: the
    newest report. `number` and `value`: of a chunk or a line; of a gap, `output` or `log`. `job`: the whole
    job, once it has settled.
    """

    kind: Kind
    id: str
    position: Place
    status: str = ""
    attempt: int = 0
    progress: Any = None
    job: Job | None = None
    number: int = 0
    value: Any = None
    missed: int = 0


@dataclass(slots=True)
class Output:
    """What the newest attempt that emitted anything has emitted. `dropped`: how many chunks before these are no
    longer kept. `attempt`: 0 where there is none."""

    attempt: int
    dropped: int
    chunks: list[Any]


class Watching(Connection):
    """Events of jobs."""

    async def watch(
        self, job_id: str, after: str | None = None, *, alive: float = 15.0
    ) -> AsyncGenerator[JobEvent]:
        """The job's events: its status now, what it has emitted and logged, each further change, and its end, which
        is the last.

        `after`: the position of an earlier event, as text, to go on from without a gap or a repetition; nothing
        comes after the job's end. `alive`: seconds without an event until one says so. It also ends where its
        taker is slower than the job's changes. Raises JobNotFound, StoreUnavailable.
        """
        self._check_event_loop()
        Shards(self.settings.shards).of(job_id)  # raises for what is no id
        async with self._store.waiters.watch(job_id) as watch:
            following = _Following(self, job_id, None if after is None else Place.parse(after))
            async for event in following.catch_up(resumed=after is not None):
                yield event
            while not following.place.over:
                try:
                    change = await watch.next(alive)
                except TimeoutError:
                    yield JobEvent("alive", job_id, following.place)
                    continue
                if change is None:
                    return
                async for event in following.events(*change):
                    yield event

    async def output(self, job_id: str) -> Output:
        """What the job's newest attempt has emitted so far. Raises JobNotFound, StoreUnavailable."""
        await within(self._store.jobs.get(job_id))
        chunks = [entry async for entry in self._every(job_id)]
        if not chunks:
            return Output(0, 0, [])
        attempt = chunks[-1].mark.attempt
        own = [entry for entry in chunks if entry.mark.attempt == attempt]
        return Output(attempt, own[0].mark.number - 1, [entry.value for entry in own])

    async def log(self, job_id: str) -> list[dict[str, Any]]:
        """The last lines that the job's attempts have logged, the oldest first: `attempt`, `at` (Unix ms), `level`,
        `event`, `fields`. Raises JobNotFound, StoreUnavailable."""
        await within(self._store.jobs.get(job_id))
        entries = await within(self._store.emitted.lines(job_id))
        return [{"attempt": entry.mark.attempt, **_line(entry.value)} for entry in entries]

    def release(self) -> None:
        """Ends every wait and watch, now and from now on, each with its job as it is: this process leaves."""
        self._store.waiters.release()

    async def _every(self, job_id: str) -> AsyncIterator[Entry]:
        mark = Mark()
        while part := await within(self._store.emitted.chunks(job_id, mark)):
            for entry in part:
                yield entry
            mark = part[-1].mark


class _Following:
    """One watcher's way through a job's events."""

    def __init__(self, watching: Watching, job_id: str, place: Place | None) -> None:
        self._store = watching._store
        self._job_id = job_id
        self._asked = place
        self.place = place or Place(Position(0, 0, 0))

    async def catch_up(self, *, resumed: bool) -> AsyncIterator[JobEvent]:
        """What has happened so far, or since the place that was asked for."""
        events = self._store.waiters.events(self._job_id)
        # the position before the job, and the job before what was missed: a change between the two comes again
        # rather than never
        newest = await within(events.newest())
        job = await within(self._store.jobs.get(self._job_id))
        missed = None if self._asked is None else await within(events.since(self._asked.change))
        if missed is None:
            self.place = self.place._replace(change=newest)
            if resumed:
                yield JobEvent("gap", self._job_id, self.place)
            async for event in self._state(job):
                yield event
            return
        if not self.place.over:
            own = [(at, change) for at, change in missed if change.id == self._job_id]
            async for event in self._resume(job, own):
                yield event

    async def _resume(self, job: Job, missed: list[tuple[Position, Change]]) -> AsyncIterator[JobEvent]:
        if not missed and not job.settled:
            yield JobEvent("alive", self._job_id, self.place)
        async for event in self._emitted(_attempt_before(missed[0][1]) if missed else job.attempt):
            yield event
        for position, change in missed:
            async for event in self.events(position, change):
                yield event
            if self.place.over:
                return
        if job.settled:
            yield self._end(job)

    async def events(self, position: Position, change: Change) -> AsyncIterator[JobEvent]:
        """What a change brings; nothing for one that was told of before."""
        if position <= self.place.change:
            return
        if change.status in ("output", "log"):
            async for event in self._emitted(change.attempt):
                yield event
        self.place = self.place._replace(change=position)
        if change.status == "progress":
            report = await within(self._store.jobs.progress(change.id))
            yield JobEvent("progress", change.id, self.place, "running", change.attempt, report)
        elif change.status in SETTLED:
            yield self._end(await within(self._store.jobs.get(change.id)))
        elif change.status not in ("output", "log"):
            status = shown_status(change.status.encode())
            yield JobEvent("status", change.id, self.place, status, change.attempt)

    async def _state(self, job: Job) -> AsyncIterator[JobEvent]:
        """The job as it is, with what it has emitted and logged."""
        if not job.settled:
            yield JobEvent("status", job.id, self.place, job.status, job.attempt, job.progress)
        async for event in self._emitted(job.attempt):
            yield event
        if job.settled:
            yield self._end(job)

    def _end(self, job: Job) -> JobEvent:
        self.place = self.place._replace(over=True)
        return JobEvent("settled", job.id, self.place, job.status, job.attempt, job.progress, job)

    async def _emitted(self, attempt: int) -> AsyncIterator[JobEvent]:
        """Chunks and lines that have not been told, up to this attempt's: what is of a later one comes behind the
        change that begins it."""
        is_full = True  # whether a call brought as many entries as it may
        while is_full:
            chunks, lines = await within(self._store.emitted.both(self._job_id, self.place.output, self.place.log))
            chunks = [entry for entry in chunks if entry.mark.attempt <= attempt]
            lines = [entry for entry in lines if entry.mark.attempt <= attempt]
            is_full = PART in (len(chunks), len(lines))
            for entry in chunks:
                if missed := _missed(self.place.output, entry.mark):
                    yield self._gap("output", entry, missed)
                self.place = self.place._replace(output=entry.mark)
                yield self._told("output", entry)
            for entry in lines:
                if missed := _missed(self.place.log, entry.mark):
                    yield self._gap("log", entry, missed)
                self.place = self.place._replace(log=entry.mark)
                yield self._told("log", entry)

    def _gap(self, of: Literal["output", "log"], entry: Entry, missed: int) -> JobEvent:
        return JobEvent("gap", self._job_id, self.place, attempt=entry.mark.attempt, value=of, missed=missed)

    def _told(self, kind: Literal["output", "log"], entry: Entry) -> JobEvent:
        mark = entry.mark
        return JobEvent(
            kind, self._job_id, self.place, "running", mark.attempt, number=mark.number, value=entry.value
        )


def _missed(last: Mark, mark: Mark) -> int:
    """How many entries of its attempt are gone between the last one and this."""
    return mark.number - 1 - (last.number if last.attempt == mark.attempt else 0)


def _attempt_before(change: Change) -> int:
    """The attempt whose output comes before a change."""
    return change.attempt - 1 if change.status == "running" else change.attempt


def _line(value: Any) -> dict[str, Any]:
    """A line's members; what cannot be read is shown as such."""
    return value if isinstance(value, dict) and "event" in value else {"event": "unreadable", "fields": value}
