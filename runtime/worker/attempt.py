"""One attempt that a worker holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from runtime import log, metrics
from runtime.handlers.context import Context
from runtime.handlers.spec import Spec
from runtime.jobs.event import Publication
from runtime.jobs.request import JobRequest
from runtime.store.attempts import Taken
from runtime.worker.unsent import Unsent

Requested = tuple[str, JobRequest]  # the id that the handler got, and its request
Started = tuple[str, JobRequest | Publication]
Cause = Literal["lost", "released", "cancelled", "timeout"]


class Reporting(Protocol):
    """Receives what attempts report, from any thread."""

    def progress(self, attempt: Attempt, report: dict[str, Any]) -> None: ...

    def emit(self, attempt: Attempt, packed: bytes) -> None: ...

    def line(self, attempt: Attempt, level: str, event: str, fields: Mapping[str, Any]) -> None: ...


class Attempt(log.Speaker):
    """An attempt that this worker holds; `cause` says why it is being cancelled, if it is."""

    __slots__ = (
        "begun",
        "cause",
        "ctx",
        "follow_up",
        "function",
        "lingers",
        "meters",
        "progress",
        "reports",
        "requested",
        "staged",
        "started",
        "task",
        "unsent",
    )
    taken: Taken

    reports: Reporting  # receives what it logs; set when its handler is called in this process

    def __init__(self, taken: Taken, function: Spec) -> None:
        super().__init__(taken)
        self.function = function
        self.meters = metrics.of(taken.type, taken.lane)
        self.task: asyncio.Task[Any] | None = None
        self.ctx: Context | None = None
        self.cause: Cause | None = None
        self.progress = b""  # the newest report, packed, until it is known to be in the record
        self.unsent: Unsent | None = None  # what it has emitted and logged, if anything
        self.begun = False  # a task that is cancelled before its first step never runs at all
        self.lingers: asyncio.Future[Any] | None = (
            None  # once its handler goes on although it was stopped: until it ends
        )
        self.started = time.perf_counter()
        self.requested: Iterable[Started] = ()  # what starts if it completes
        self.follow_up: Requested | None = None
        self.staged = 0  # parts of what starts that wait in Redis for its end

    def keep(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        self.reports.line(self, level, event, fields)

    @property
    def runs(self) -> bool:
        return self.task is not None and not self.task.done()

    def cancel(self, cause: Cause) -> None:
        """Asks the handler to stop, for the first cause given."""
        self.cause = self.cause or cause
        if self.ctx is not None:
            self.ctx.stop()
        if self.task is not None and self.begun:
            self.task.cancel()
