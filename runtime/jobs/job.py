"""A job: its record in Redis, and what users see of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from runtime.values import codec
from runtime.values.clock import rfc3339

Status = Literal["scheduled", "pending", "running", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("scheduled", "pending", "running", "completed", "failed", "cancelled")
SETTLED = frozenset(("completed", "failed", "cancelled"))


Result = TypeVar("Result", default=Any)


@dataclass(slots=True)
class Job(Generic[Result]):
    """One request to run one function on one payload. Times: Unix milliseconds.

    `result`: None until it has completed; else what the handler returned, of that type where a handle enqueued
    it. `trace_id`: of the distributed trace that it belongs to. `event`: the attributes of the event that
    brought it. `then`: id, type and `on` of each job that starts when this one has settled, until then.
    `archived`: it comes from history, because Redis has forgotten it.
    """

    id: str
    type: str
    lane: str
    status: Status
    payload: Any
    created_at: int
    max_attempts: int
    priority: int = 0
    attempt: int = 0
    result: Result = None  # type: ignore[assignment]  # of a handle's job it is `Result | None`
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
    then: list[dict[str, Any]] = field(default_factory=list)
    event: dict[str, Any] | None = None
    trace_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()  # what a list leaves out: payload, result, history, children, then
    archived: bool = False

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
            "then": self.then,
            "event": self.event,
            "trace_id": self.trace_id,
            "tags": self.tags,
            "archived": self.archived,
            "links": {"self": f"/jobs/{self.id}", "result": f"/jobs/{self.id}/result"},
            **{f"{name}_omitted": True for name in self.omitted},
        }

    def to_safe_json(self) -> dict[str, Any]:
        """As `to_json`; what JSON cannot show is shown as such."""
        return {name: codec.showable(value) for name, value in self.to_json().items()}
