"""A job: its record in Redis, and what users see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.values import codec, ids
from runtime.values.clock import rfc3339

Status = Literal["scheduled", "pending", "running", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("scheduled", "pending", "running", "completed", "failed", "cancelled")
SETTLED = frozenset(("completed", "failed", "cancelled"))


# the record's fields, those apart that may be large: in lists they are left out beyond so many bytes
SMALL = (
    *("type", "lane", "status", "created", "max_attempts", "attempt", "error", "progress", "updated", "run_at"),
    *("started", "finished", "expires", "cancel_at", "parent", "worker", "version"),
)
LARGE = {"payload": 4096, "result": 4096, "history": 16_384, "children": 16_384}


def shown_status(stored: bytes) -> str:
    """A job's status for users; one that runs and is to be cancelled still runs."""
    return "running" if stored == b"cancelling" else stored.decode()


@dataclass(slots=True)
class Job:
    """One request to run one function on one payload. Times: Unix milliseconds."""

    id: str
    type: str
    lane: str
    status: Status
    payload: Any
    created_at: int
    max_attempts: int
    priority: int = 0
    attempt: int = 0
    result: Any = None
    error: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    updated_at: int | None = None
    run_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    start_before: int | None = None
    cancel_requested_at: int | None = None
    parent: str | None = None
    children: list[str] = field(default_factory=list)
    omitted: tuple[str, ...] = ()  # what a list leaves out: payload, result, history, children

    @property
    def settled(self) -> bool:
        return self.status in SETTLED

    def to_json(self) -> dict[str, Any]:
        """The job as the gateway shows it; a time that has not come is null."""
        created = rfc3339(self.created_at)
        return {
            "id": self.id,
            "type": self.type,
            "lane": self.lane,
            "priority": self.priority,
            "status": self.status,
            "payload": self.payload,
            "result": self.result,
            "error": self.error,
            "attempt": self.attempt,
            "max_attempts": self.max_attempts,
            "attempts": self.attempts,
            "progress": self.progress,
            "created_at": created,
            "updated_at": rfc3339(self.updated_at) if self.updated_at else created,
            "run_at": rfc3339(self.run_at),
            "started_at": rfc3339(self.started_at),
            "finished_at": rfc3339(self.finished_at),
            "start_before": rfc3339(self.start_before),
            "cancel_requested_at": rfc3339(self.cancel_requested_at),
            "parent": self.parent,
            "children": self.children,
            "links": {"self": f"/jobs/{self.id}", "result": f"/jobs/{self.id}/result"},
            **{f"{name}_omitted": True for name in self.omitted},
        }

    def to_safe_json(self) -> dict[str, Any]:
        """As `to_json`; what JSON cannot show is shown as such."""
        return {name: codec.showable(value) for name, value in self.to_json().items()}


def from_record(
    job_id: str, record: Mapping[bytes, bytes], lanes: tuple[str, ...], omitted: tuple[str, ...] = ()
) -> Job:
    """A job from its hash; `lanes` from lowest to highest give its priority a number.

    `omitted`: what was too large to be read. A record that cannot be read makes a job that says so.
    """
    try:
        return _from_record(job_id, record, lanes, omitted)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        status = shown_status(record.get(b"status", b"failed"))
        told = {"type": "RecordUnreadable", "message": f"{type(error).__name__}: {error}"[:200], "traceback": None}
        name, lane = (record.get(field, b"").decode("utf-8", "replace") for field in (b"type", b"lane"))
        known: Status = status if status in STATUSES else "failed"
        return Job(job_id, name, lane, known, None, ids.created_ms(job_id), 1, error=told)


def _from_record(
    job_id: str, record: Mapping[bytes, bytes], lanes: tuple[str, ...], omitted: tuple[str, ...]
) -> Job:
    lane = record[b"lane"].decode()
    error, progress, result = record.get(b"error"), record.get(b"progress"), record.get(b"result")
    job = Job(
        id=job_id,
        type=record[b"type"].decode(),
        lane=lane,
        priority=lanes.index(lane) if lane in lanes else 0,
        status=shown_status(record[b"status"]),  # type: ignore[arg-type]
        payload=codec.unpack_any(record[b"payload"]) if b"payload" in record else None,
        created_at=int(record[b"created"]),
        max_attempts=int(record[b"max_attempts"]),
        attempt=int(record.get(b"attempt", 0)),
        result=None if result is None else codec.unpack_any(result),
        error=None if error is None else codec.unpack(error),
        progress=None if progress is None else codec.unpack_any(progress),
        updated_at=max(int(record.get(name, 0)) for name in (b"created", b"updated", b"started", b"finished")),
        run_at=_int(record.get(b"run_at")),
        started_at=_int(record.get(b"started")),
        finished_at=_int(record.get(b"finished")),
        start_before=_int(record.get(b"expires")),
        cancel_requested_at=_int(record.get(b"cancel_at")),
        parent=record[b"parent"].decode() if b"parent" in record else None,
        children=[child.decode() for child in codec.unpack_stream(record.get(b"children", b""))],
        omitted=omitted,
    )
    job.attempts = _attempts(job, record)
    return job


def _attempts(job: Job, record: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    """The history that scripts appended, and the attempt that the record itself tells of."""
    rows = codec.unpack_stream(record.get(b"history", b""))
    runs_or_ended = job.status == "running" or job.settled
    if runs_or_ended and job.attempt and (not rows or rows[-1][0] != job.attempt):
        outcome = b"" if job.status == "running" else job.status.encode()
        error = record.get(b"error") if job.status == "failed" else None
        worker, version = record.get(b"worker", b""), record.get(b"version", b"")
        rows.append([job.attempt, job.started_at, job.finished_at, outcome, worker, error, version])
    starts = [row[1] for row in rows[1:]] + [None]
    return [_attempt(*row, next_start=start) for row, start in zip(rows, starts, strict=False)]


def _attempt(
    number: int,
    started: int | None,
    ended: int | None,
    outcome: bytes,
    worker: bytes,
    error: bytes | None,
    version: bytes,
    *,
    next_start: int | None,
) -> dict[str, Any]:
    told = codec.unpack(error) if error else None
    shown = {
        "attempt": number,
        "started_at": rfc3339(started),
        "ended_at": rfc3339(ended),
        "outcome": outcome.decode() or None,
        "worker": worker.decode() or None,
        "version": version.decode() or None,
        "error": told,
    }
    if outcome == b"lost" and next_start is not None and ended is not None:
        # from the last sign of life that the lost worker can have given
        shown["ran_again_after_ms"] = next_start - ended + (told or {}).get("silent_ms", 0)
    return shown


def _int(value: bytes | None) -> int | None:
    return None if value is None else int(value)
