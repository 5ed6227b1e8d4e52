"""A settled job as rows of the tables, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any

from runtime import log
from runtime.jobs.job import Job
from runtime.values import codec, ids

_MAX_FIELDS = 50  # of a payload that can be searched
MAX_TEXT = 200  # characters of each that are indexed
_MAX_DEPTH = 5
_MAX_ERROR = 2000
_NAMES = tuple(field.name for field in fields(Job) if field.name not in ("omitted", "archived"))
_USUAL = Job("", "", "", "completed", None, 0, 0)
_ALWAYS = ("id", "type", "lane", "status", "payload", "created_at", "max_attempts")
Row = dict[str, Any]


def job_row(job: Job) -> Row:
    return {
        "id": job.id,
        "type": clean(job.type),
        "lane": clean(job.lane),
        "status": job.status,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "finished_at": job.finished_at or job.updated_at or job.created_at,
        "parent": job.parent,
        "error": _error(job),
        "fields": searchable(job.payload),
        "tags": {clean(name): clean(value) for name, value in job.tags.items()} or None,
        "job": packed(job),
    }


def attempt_rows(job: Job) -> list[Row]:
    return [_attempt_row(job, attempt) for attempt in job.attempts]


def rows(job: Job) -> tuple[Row, list[Row]]:
    """The job's row, and its attempts'; of a job whose record says what cannot be, rows that say so."""
    try:
        return job_row(job), attempt_rows(job)
    except Exception as error:  # whatever is in it, the jobs beside it are not to wait
        log.get("history").error("history.unreadable", job=job.id, function=job.type, error=repr(error)[:300])
        created = ids.created_ms(job.id)
        told = {"type": "RecordUnreadable", "message": repr(error)[:200], "traceback": None}
        unreadable = Job(job.id, clean(str(job.type)), clean(str(job.lane)), "failed", None, created, 1, error=told)
        return job_row(unreadable), []


def stripped(row: Row) -> Row:
    """The row without what is searched: a database that refuses that may take the rest."""
    return {**row, "error": None, "fields": {}, "tags": None}


def packed(job: Job) -> bytes:
    """All that users see of it but what is as usual; later versions may have further fields."""
    shown = {name: value for name in _NAMES if (value := getattr(job, name)) != getattr(_USUAL, name)}
    return codec.pack({name: getattr(job, name) for name in _ALWAYS} | shown)


def unpacked(data: bytes) -> Job:
    known = {name: value for name, value in codec.unpack_any(data).items() if name in _NAMES}
    return Job(**known, archived=True)


def searchable(payload: Any) -> dict[str, str | int | float | bool]:
    """Text, numbers and booleans of a payload by their path; the first fifty, text up to 200 characters."""
    found: dict[str, str | int | float | bool] = {}
    for path, value in _leaves(payload, ()):
        if len(found) == _MAX_FIELDS:
            break
        found[path] = clean(value[:MAX_TEXT]) if isinstance(value, str) else value
    return found


def has_text(payload: Any, path: str, text: str) -> bool:
    """Whether the payload has exactly this at the path, of which the index may have the beginning alone."""
    return any(own == path and value == text for own, value in _leaves(payload, ()))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and len(path) < _MAX_DEPTH:
        for name, part in value.items():
            yield from _leaves(part, (*path, str(name)))
    elif isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        yield clean(".".join(path)[:MAX_TEXT]), value


def clean(text: str) -> str:
    """As the databases can hold it: PostgreSQL's text and JSON have no NUL, and neither takes single surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _error(job: Job) -> str | None:
    if job.error is None:
        return None
    text = f"{job.error.get('type')}: {job.error.get('message')}"
    return clean(text[:_MAX_ERROR])


def _attempt_row(job: Job, attempt: dict[str, Any]) -> Row:
    started = _ms(attempt["started_at"])
    error = attempt["error"]
    return {
        "job_id": job.id,
        "attempt": attempt["attempt"],
        "type": clean(job.type),
        "started_at": started,
        "ended_at": _ms(attempt["ended_at"]),
        "waited": _waited(job, started) if attempt["attempt"] == 1 else None,
        "outcome": attempt["outcome"],
        "worker": clean(attempt["worker"] or "") or None,
        "version": clean(attempt["version"] or "") or None,
        "error_type": None if error is None else clean(str(error.get("type"))),
    }


def _waited(job: Job, started: int | None) -> int | None:
    """ms from when it could start; not known of a delayed job that was tried again, whose times are of that."""
    if started is None or (job.run_at is not None and job.attempt > 1):
        return None
    return max(0, started - max(job.created_at, job.run_at or 0))


def _ms(time: str | None) -> int | None:
    return None if time is None else round(datetime.fromisoformat(time).timestamp() * 1000)
