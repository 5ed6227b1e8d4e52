"""The job's record, a hash: every field, who writes it and when it is there, and what users see of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from runtime.jobs import tags
from runtime.jobs.job import SETTLED, STATUSES, Job, Status
from runtime.store.rows import Past
from runtime.tracing import Trace
from runtime.values import codec, ids, secret_fields
from runtime.values.clock import rfc3339


class Field(NamedTuple):
    """`writers`: the scripts that set it. `shown_up_to`: bytes beyond which lists leave it out, 0 for one that is
    small and always read; None for one that users do not see."""

    name: str
    holds: str
    writers: tuple[str, ...]
    there: str
    shown_up_to: int | None = 0


_STORE = ("_store",)
_TO_LANE = ("_shared",)
FIELDS = (
    Field("type", "the function that it is for", _STORE, "always"),
    Field("lane", "its lane", _STORE, "always"),
    Field(
        "status",
        "as users see it, and `cancelling`",
        ("_shared", "_store", "cancel", "reclaim", "replay", "settle", "take"),
        "always",
    ),
    Field("payload", "msgpack", _STORE, "always", 4096),
    Field("max_attempts", "a number", _STORE, "always"),
    Field("created", "Unix ms", _STORE, "always"),
    Field("extras", "`NewJob.extras`", _STORE, "where anything unusual was asked for", 4096),
    Field("parent", "a job's id", _STORE, "if a job has started it"),
    Field("again", "1", ("_finish",), "if its id, and so its follow-ups' ids, are not those of its request", None),
    Field("expires", "Unix ms", ("_store", "move"), "if it must have started by then"),
    Field("ttl", "ms", _STORE, "if its expiry counts from when it may start", None),
    Field("run_at", "Unix ms", ("_store", "move", "replay", "settle"), "while it is scheduled, and after"),
    Field("entry", "a stream entry's id", ("_shared", "_store"), "while its lane has it", None),
    Field(
        "updated",
        "Unix ms",
        ("_shared", "cancel", "move", "progress", "reclaim", "replay", "settle"),
        "from its first change on",
    ),
    Field("attempt", "the number of the last attempt: the fencing token", ("take",), "once one has begun"),
    Field("started", "Unix ms, of the last attempt", ("take",), "once one has begun"),
    Field("worker", "who has the last attempt", ("take",), "once one has begun"),
    Field("version", "of the function, of the last attempt", ("take",), "once one has begun"),
    Field("busy", "the limit that its attempt counts for", ("take",), "if there is one", None),
    Field("parked", "the limit that it waits for", ("_limits",), "once it has waited for one", None),
    Field("spared", "how many attempts do not count", ("reclaim", "replay", "settle"), "once there is one", None),
    Field("crashes", "how often what ran it was lost", ("reclaim", "settle"), "once that happened", None),
    Field("progress", "msgpack", ("progress", "settle"), "once its last attempt has reported"),
    Field(
        "history",
        "`Past` rows, packed, one after the other",
        ("reclaim", "replay", "settle"),
        "after a retry",
        16_384,
    ),
    Field("cancel_at", "Unix ms of the request to cancel", ("cancel",), "if it ran then"),
    Field("finished", "Unix ms", ("cancel", "reclaim", "settle"), "once it has settled"),
    Field("result", "msgpack", ("settle",), "if it completed", 4096),
    Field("error", "msgpack", ("reclaim", "settle"), "after an attempt that failed"),
    Field("children", "ids, packed, one after the other", ("_finish", "start"), "if it has started jobs", 16_384),
)
_CHANGES = (b"created", b"updated", b"started", b"finished")
SMALL = tuple(field.name for field in FIELDS if field.shown_up_to == 0 and field.name != "status")
LARGE = {field.name: field.shown_up_to for field in FIELDS if field.shown_up_to}


def read(job_id: str, record: Mapping[bytes, bytes], lanes: tuple[str, ...], omitted: tuple[str, ...] = ()) -> Job:
    """A job from its hash; `lanes` from lowest to highest give its priority a number.

    `omitted`: what was too large to be read. An unreadable record gives a job that shows that.
    """
    try:
        return _read(job_id, record, lanes, omitted)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        status = shown_status(record.get(b"status", b"failed"))
        message = f"{type(error).__name__}: {error}"[:200]
        name, lane = (record.get(field, b"").decode("utf-8", "replace") for field in (b"type", b"lane"))
        known: Status = status if status in STATUSES else "failed"
        unreadable = {"type": "RecordUnreadable", "message": message, "traceback": None}
        return Job(job_id, name, lane, known, None, ids.created_ms(job_id), 1, error=unreadable)


def shown_status(stored: bytes) -> Any:
    """A job's status for users: one that is being cancelled is still running."""
    return "running" if stored == b"cancelling" else stored.decode("utf-8", "replace")


def _read(job_id: str, record: Mapping[bytes, bytes], lanes: tuple[str, ...], omitted: tuple[str, ...]) -> Job:
    lane = record[b"lane"].decode()
    status = shown_status(record[b"status"])
    error, progress, result = record.get(b"error"), record.get(b"progress"), record.get(b"result")
    extras = codec.unpack_stream(record[b"extras"])[0] if b"extras" in record else {}
    event = extras.get(b"event")
    job = Job(
        id=job_id,
        type=record[b"type"].decode(),
        lane=lane,
        priority=lanes.index(lane) if lane in lanes else 0,
        status=status,
        payload=_payload(record, extras, omitted),
        created_at=int(record[b"created"]),
        max_attempts=int(record[b"max_attempts"]),
        attempt=int(record.get(b"attempt", 0)),
        result=None if result is None else codec.unpack_any(result),
        error=None if error is None else codec.unpack(error),
        progress=None if progress is None else codec.unpack_any(progress),
        updated_at=max([int(record[name]) for name in _CHANGES if name in record]),
        run_at=_int(record.get(b"run_at")),
        started_at=_int(record.get(b"started")),
        finished_at=_int(record.get(b"finished")),
        start_before=_int(record.get(b"expires")),
        cancel_requested_at=_int(record.get(b"cancel_at")),
        parent=record[b"parent"].decode() if b"parent" in record else None,
        then=_waiting(status, extras),
        event=None if event is None else codec.unpack(event),
        trace_id=_trace_id(extras),
        tags=tags.unpacked(extras[b"tags"]) if b"tags" in extras else {},
        children=[child.decode() for child in codec.unpack_stream(record.get(b"children", b""))],
        omitted=_shown_as(omitted) if omitted else (),
    )
    job.attempts = _attempts(job, record)
    return job


def _waiting(status: Status, extras: Mapping[bytes, Any]) -> list[dict[str, Any]]:
    """The jobs that follow it, until it has settled; those that started then are children."""
    if status in SETTLED:
        return []
    return [
        {"id": job_id.decode(), "type": function.decode(), "on": on.decode().split(",")}
        for (job_id, function, *_), on, *_ in extras.get(b"then", ())
    ]


def _shown_as(omitted: tuple[str, ...]) -> tuple[str, ...]:
    if "extras" not in omitted:
        return omitted
    return tuple(dict.fromkeys(("payload", "event", *("then" if name == "extras" else name for name in omitted))))


def _payload(record: Mapping[bytes, bytes], extras: Mapping[bytes, Any], omitted: tuple[str, ...]) -> Any:
    """Without its secret fields; with nothing where a list has left out what says which these are."""
    if b"payload" not in record or "extras" in omitted:
        return None
    payload = codec.unpack_any(record[b"payload"])
    secret = extras.get(b"secret")
    if not secret:
        return payload
    rules = [(_texts(path), None if shown is None else _texts(shown)) for path, shown in secret]
    return secret_fields.masked(payload, rules)


def _texts(names: list[bytes]) -> list[str]:
    return [name.decode() for name in names]


def _trace_id(extras: Mapping[bytes, Any]) -> str | None:
    found = extras.get(b"trace")
    return None if found is None else Trace(*_texts(found)).id


def _attempts(job: Job, record: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    """The history that scripts appended, plus the last attempt, which the record itself holds."""
    if not job.attempt:
        return []
    rows = [Past(*row) for row in codec.unpack_stream(record.get(b"history", b""))]
    runs_or_ended = job.status == "running" or job.settled
    if runs_or_ended and (not rows or rows[-1].attempt != job.attempt):
        outcome = b"" if job.status == "running" else job.status.encode()
        error = record.get(b"error") if job.status == "failed" else None
        worker, version = record.get(b"worker", b""), record.get(b"version", b"")
        rows.append(Past(job.attempt, job.started_at, job.finished_at, outcome, worker, error, version))
    next_starts = [row.started for row in rows[1:]] + [None]
    return [_attempt(row, next_start) for row, next_start in zip(rows, next_starts, strict=False)]


def _attempt(row: Past, next_start: int | None) -> dict[str, Any]:
    error = codec.unpack(row.error) if row.error else None
    shown = {
        "attempt": row.attempt,
        "started_at": rfc3339(row.started),
        "ended_at": rfc3339(row.ended),
        "outcome": row.outcome.decode() or None,
        "worker": row.worker.decode() or None,
        "version": row.version.decode() or None,
        "error": error,
    }
    if row.outcome == b"lost" and next_start is not None and row.ended is not None:
        # from the last sign of life that the lost worker can have given
        shown["ran_again_after_ms"] = next_start - row.ended + (error or {}).get("silent_ms", 0)
    return shown


def _int(value: bytes | None) -> int | None:
    return None if value is None else int(value)
