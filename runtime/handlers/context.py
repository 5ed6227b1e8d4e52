"""What a handler may ask for while it runs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import structlog
from typing_extensions import Unpack

from runtime.errors import JobInvalid, Permanent, Stopped
from runtime.jobs.event import Event, Publication
from runtime.jobs.request import JobRequest, Options, check_started_count
from runtime.values import codec, ids

_NOTE = 4096  # bytes
_CHUNK = 256 << 10  # bytes


@dataclass(frozen=True, slots=True)
class JobInfo:
    """The job behind an attempt. `created_at`: Unix milliseconds. `tries`: which of its `max_attempts` this
    attempt is; those that were lost or handed back do not count. `scheduled_for`: the tick of the schedule
    that made it, in Unix milliseconds, however late it runs; None for a job of another origin. `event`: the
    attributes of the event that brought it, by name, if one did. `trace`: the headers `traceparent` and
    `tracestate` for what this attempt asks of others, where its job belongs to a trace."""

    id: str
    type: str
    lane: str
    attempt: int
    max_attempts: int
    created_at: int
    tries: int = 1
    scheduled_for: int | None = None
    event: dict[str, Any] | None = None
    trace: dict[str, str] = field(default_factory=dict)


class Context:
    """Handed to a parameter annotated `Context`; usable from the event loop and from threads."""

    __slots__ = ("_emit", "_files", "_log", "_new_ids", "_report", "_stopped", "follow_up", "job", "requested")

    def __init__(
        self,
        job: JobInfo,
        report: Callable[[dict[str, Any]], None],
        emit: Callable[[bytes], None],
        files: Path,
        new_ids: Iterator[str] | None = None,
    ) -> None:
        """`new_ids`: for the jobs and events that it starts; without them, it makes its own."""
        self.job = job
        self._new_ids = new_ids
        self._report = report
        self._emit = emit
        self._files = files
        self._log: structlog.stdlib.BoundLogger | None = None
        self._stopped = False
        # what starts if this attempt completes: jobs and events, each with its id
        self.requested: list[tuple[str, JobRequest | Publication]] = []
        self.follow_up: tuple[str, JobRequest] | None = None

    @property
    def event(self) -> Event:
        """The event that brought the job; for a job that came otherwise, one that names the job."""
        if self.job.event is None:
            return Event.of_job(self.job.id, self.job.type, self.job.created_at)
        return Event.of(self.job.event)

    @property
    def log(self) -> Any:
        """A structlog logger bound to the job: id, function, attempt. Its last 200 lines are kept with the job."""
        if self._log is None:
            self._log = structlog.get_logger("function").bind(
                job=self.job.id, function=self.job.type, attempt=self.job.attempt
            )
        return self._log

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop: its job was cancelled, it timed out, lost its lease, or its worker
        is leaving. Whatever it returns from then on is not recorded: half of the work is not a result.

        An `async def` handler is also cancelled; a long-running `def` handler checks here, or calls `check`.
        """
        return self._stopped

    def check(self) -> None:
        """Raises Stopped where this attempt should stop: the way out of a loop."""
        if self.cancelled:
            raise Stopped

    def stop(self) -> None:
        """Make `cancelled` true."""
        self._stopped = True

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Show how far the job is; the newest report replaces the one before it.

        A note of more than 4 KiB is cut. Raises ValueError for what is no number, or no text.
        """
        if note is not None and not isinstance(note, str):
            raise ValueError(f"progress: note is text, not {type(note).__name__}; give str(…) of it")
        self._report(
            {"done": _number(done), "total": None if total is None else _number(total), "note": _cut_note(note)}
        )

    def emit(self, chunk: Any) -> None:
        """Send a part of the output: text, bytes, or what JSON can show.

        Who follows the job gets it at once, and `GET /jobs/{id}/output` has the output of the newest attempt, the
        last megabyte of it (`LANEWORK_OUTPUT_LIMIT`). Raises TypeError or ValueError for what JSON cannot show, and
        for a chunk of more than 256 KiB.
        """
        packed = codec.pack_shown(chunk)
        if len(packed) > _CHUNK:
            raise ValueError(f"emit: a chunk has at most {_CHUNK >> 10} KiB; send it in parts, or by reference")
        self._emit(packed)

    def enqueue(self, type: str, payload: Any = None, **options: Unpack[Options]) -> str:
        """Start a job if this attempt completes, in the same step and so exactly once; returns its id.

        `options` as in `Lanework.enqueue`, without `key`. A request that cannot be stored fails the attempt. Where
        an equal job lives (`unique`) none is stored, and nothing is found under the id. Where there are more than
        250 jobs, each is found once it has come to its lane, some seconds after the attempt.

        Raises JobInvalid for the 100,001st job, and for an unknown option.
        """
        self._check_count()
        request = _request(type, payload, options)
        job_id = self._next_id()
        self.requested.append((job_id, request))
        return job_id

    def publish(
        self,
        type: str,
        data: Any = None,
        *,
        source: str | None = None,
        subject: str | None = None,
        **extensions: str | int | bool,
    ) -> str:
        """Publish an event if this attempt completes, in the same step and so exactly once; returns its id.

        Each function that subscribes to it then gets a job with `data` as its payload. `source`: `/functions/NAME`
        of this job where nothing is said. `extensions`: further attributes, or the optional ones of CloudEvents.

        Raises EventInvalid, and JobInvalid for the 100,001st job or event.
        """
        self._check_count()
        event_id = self._next_id()
        source = source or f"/functions/{self.job.type}"
        published = Publication.of(event_id, type, source, subject, extensions, data)
        self.requested.append((event_id, published))
        return event_id

    def _next_id(self) -> str:
        """Of what it starts."""
        return ids.new_id(ids.shard_of(self.job.id)) if self._new_ids is None else next(self._new_ids)

    def _check_count(self) -> None:
        check_started_count(len(self.requested))

    def when_all_settled(self, type: str, payload: Any = None, **options: Unpack[Options]) -> str:
        """Start a job once all that this attempt enqueues have settled, however; returns the id it has then.

        Raises ValueError where one has been named already.
        """
        if self.follow_up is not None:
            raise ValueError("this attempt already has a follow-up; it can have only one")
        self.follow_up = (self._next_id(), _request(type, payload, options))
        return self.follow_up[0]

    def file(self, name: str | PurePath) -> Path:
        """The path of a file that functions may read and write, below `LANEWORK_FILES_DIR`; its folder is made.

        Raises Permanent for a name that leads out of that folder.
        """
        root = self._files.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise Permanent(f"{str(name)!r} lies outside the folder of files ({self._files})")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _request(type: str, payload: Any, options: Options) -> JobRequest:
    """Raises JobInvalid for an unknown option."""
    try:
        return JobRequest(type, payload, **options)
    except TypeError as error:
        message = str(error).rpartition("() ")[2]
        raise JobInvalid(message, [{"field": "", "message": message}]) from None


def _number(value: float) -> float:
    """As any record can hold it."""
    if isinstance(value, numbers.Real) and math.isfinite(value):
        if not isinstance(value, numbers.Integral):
            return float(value)
        if abs(value) < 1 << 63:
            return int(value)
    raise ValueError("progress: done and total are numbers, of at most 64 bits and not infinite")


def _cut_note(note: str | None) -> str | None:
    """As much of a note as is kept; what is not valid Unicode is escaped."""
    if note is None or (len(note) <= _NOTE // 4 and note.isascii()):
        return note
    text = note[:_NOTE].encode("utf-8", "backslashreplace")
    if len(text) <= _NOTE and len(note) <= _NOTE:
        return text.decode()
    return text[: _NOTE - 3].decode("utf-8", "ignore") + "…"
