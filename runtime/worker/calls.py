"""Calling a handler where its function says: on the event loop, in a thread, or in a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from runtime import log, tracing
from runtime.handlers.context import Context, JobInfo
from runtime.handlers.spec import Function, Spec
from runtime.jobs.event import Event, Publication
from runtime.jobs.request import JobRequest
from runtime.settings import Settings
from runtime.store.attempts import Taken
from runtime.values import codec
from runtime.worker import printed
from runtime.worker.attempt import Attempt, Reporting, Requested, Started
from runtime.worker.processes.pool import Pool


class Threads(Protocol):
    """Where `def` handlers run that need no process."""

    def run(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Awaitable[Any]: ...


class Caller(Protocol):
    """Has an attempt's handler called, wherever that is."""

    def call(self, attempt: Attempt) -> Coroutine[Any, Any, bytes]:
        """The handler's result, packed."""


class Calls:
    """Calls handlers; an attempt knows afterwards what its handler asked for."""

    def __init__(self, threads: Threads, pool: Pool | None, settings: Settings, reports: Reporting) -> None:
        """Without a `pool`, all handlers run in this process."""
        self._threads = threads
        self._pool = pool
        self._files: Path = settings.files_dir
        self._reports = reports

    def call(self, attempt: Attempt) -> Coroutine[Any, Any, bytes]:
        """The handler's result, packed. Raises what the handler does, and what packing it does."""
        fn: Any = attempt.function
        if self._pool is not None and fn.isolation == "process":
            return self._call_child(self._pool, fn, attempt)
        return self._call_here(fn, attempt)

    async def _call_here(self, fn: Function, attempt: Attempt) -> bytes:
        arguments = fn.arguments(attempt.taken.payload, partial(self._context, attempt))
        timer = timeout_timer(fn, attempt)
        attempt.reports = self._reports
        outside = log.SPEAKER.set(attempt)
        try:
            if fn.is_async:
                value = await fn.handler(**arguments)
            else:
                value = await self._threads.run(fn.handler, arguments)
            if attempt.cause is not None:  # it was stopped: what it returns may be half-done work
                raise asyncio.CancelledError
            return codec.pack_shown(value)
        finally:
            timer.cancel()
            log.SPEAKER.reset(outside)
            if attempt.said is not None:
                printed.end(attempt)
            if attempt.ctx is not None:
                attempt.requested, attempt.follow_up = tuple(attempt.ctx.requested), attempt.ctx.follow_up

    async def _call_child(self, pool: Pool, fn: Spec, attempt: Attempt) -> bytes:
        taken = attempt.taken
        job = list(astuple(job_info(taken)))
        timers: list[asyncio.TimerHandle] = []

        def begun() -> None:  # what it took to find and load a child is not the handler's
            timers.append(timeout_timer(fn, attempt))

        try:
            value, started = await pool.run(fn, job, taken.payload, _Sink(attempt, self._reports), begun)
        finally:
            for timer in timers:
                timer.cancel()
        if started:
            packed = codec.each(started)
            follow_up = next(packed)
            attempt.follow_up = None if follow_up is None else _requested(follow_up)
            attempt.requested = map(_started, packed)
        result: bytes = value
        return result

    def _context(self, attempt: Attempt) -> Context:
        report, emit = partial(self._reports.progress, attempt), partial(self._reports.emit, attempt)
        attempt.ctx = Context(job_info(attempt.taken), report, emit, self._files)
        return attempt.ctx


def timeout_timer(fn: Spec, attempt: Attempt) -> asyncio.TimerHandle:
    """A timer costs a fraction of what asyncio.timeout does, and cancels as losing the lease does."""
    return asyncio.get_running_loop().call_later(fn.policy.timeout, attempt.cancel, "timeout")


def job_info(taken: Taken) -> JobInfo:
    of_job = (taken.id, taken.type, taken.lane, taken.attempt, taken.max_attempts, taken.created_at)
    return JobInfo(*of_job, taken.tries, taken.tick, taken.event, _headers(taken))


def _headers(taken: Taken) -> dict[str, str]:
    """Of the attempt's span, else of the job."""
    trace = tracing.CURRENT.get() if taken.extras or tracing.makes_spans() else None
    return {} if trace is None else trace.headers


class _Sink:
    """Receives what a child reports about its attempt; its log lines are bound to the job."""

    def __init__(self, attempt: Attempt, reports: Reporting) -> None:
        self._attempt = attempt
        self._reports = reports
        self._log: Any = None

    def progress(self, report: dict[str, Any]) -> None:
        self._reports.progress(self._attempt, report)

    def emit(self, packed: bytes) -> None:
        self._reports.emit(self._attempt, packed)

    def log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self._log is None:
            trace = self._attempt.taken.trace
            names = log.names(self._attempt.taken) | ({} if trace is None else {"trace_id": trace.id})
            self._log = log.get("function").bind(**names)
        log.tell(self._log, level, event, fields)
        self._reports.line(self._attempt, level, event, fields)


def _started(packed: list[Any]) -> Started:
    event_id, data, fields = packed
    if "event" in fields:
        return event_id, Publication(Event.of(fields["event"]), codec.unpack(data))
    return _requested(packed)


def _requested(packed: list[Any]) -> Requested:
    job_id, payload, fields = packed
    return job_id, _request({**fields, "payload": codec.unpack(payload)})


def _request(fields: dict[str, Any]) -> JobRequest:
    then: Iterable[dict[str, Any]] = fields.get("then", ())
    return JobRequest(**{**fields, "then": [_request(follow_up) for follow_up in then]})
