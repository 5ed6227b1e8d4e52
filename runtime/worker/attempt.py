"""Running one attempt, from payload to outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, Literal

from runtime import codec, durations, log, metrics
from runtime.children.pool import Pool
from runtime.children.turns import NoRoom
from runtime.context import Context, JobInfo
from runtime.errors import StoreUnavailable
from runtime.failure import ForkserverLost, ResultTooLarge, Timeout, failure
from runtime.intake import Intake
from runtime.request import JobRequest, NewJob
from runtime.retry import Retry
from runtime.settings import Settings
from runtime.spec import Function, Spec
from runtime.store.attempts import Settlement, Taken
from runtime.worker import contained, printed
from runtime.worker.threads import Threads

Cause = Literal["lost", "released", "cancelled", "timeout"]
Report = Callable[["Attempt", dict[str, Any]], None]  # of an attempt's progress, from any thread

_LONGEST = 10 * 365 * 86_400.0  # seconds; a job's times stay within four-digit years
_PAUSE = 0.2


class Attempt:
    """An attempt that this worker holds; `cause` says why it is being cancelled, if it is."""

    __slots__ = (
        "asked",
        "begun",
        "cause",
        "ctx",
        "follow_up",
        "function",
        "meters",
        "progress",
        "started",
        "taken",
        "task",
    )

    def __init__(self, taken: Taken, function: Spec) -> None:
        self.taken = taken
        self.function = function
        self.meters = metrics.of(taken.type, taken.lane)
        self.task: asyncio.Task[None] | None = None
        self.ctx: Context | None = None
        self.cause: Cause | None = None
        self.progress = b""  # the newest report, packed, until it is known to be in the record
        self.begun = False  # a task that is cancelled before its first step never runs at all
        self.started = time.perf_counter()
        self.asked: list[tuple[str, JobRequest]] = []  # what starts if it completes
        self.follow_up: tuple[str, JobRequest] | None = None

    def cancel(self, cause: Cause) -> None:
        """Asks the handler to stop, for the first cause given."""
        self.cause = self.cause or cause
        if self.ctx is not None:
            self.ctx.stop()
        if self.task is not None and self.begun:
            self.task.cancel()


class Runner:
    """Turns attempts into settlements."""

    def __init__(
        self,
        threads: Threads,
        pool: Pool,
        intake: Intake,
        settings: Settings,
        report: Report,
        is_ending: Callable[[], bool],
    ) -> None:
        """`is_ending`: whether the event loop ends with all that runs on it, which is no attempt's fault."""
        self._is_ending = is_ending
        self._threads = threads
        self._pool = pool
        self._intake = intake
        self._files: Path = settings.files_dir
        self._result_limit = settings.result_limit
        self._report = report

    async def run(self, attempt: Attempt) -> Settlement | None:
        """The attempt's outcome, whatever the handler does; None where the attempt was lost."""
        fn = attempt.function
        value = b""
        children: Sequence[NewJob] = ()
        after: NewJob | None = None
        error: BaseException | None = None
        attempt.begun = True
        try:
            if attempt.cause is not None:
                raise asyncio.CancelledError
            value = await self._call(fn, attempt)
            if attempt.asked or attempt.follow_up:
                children, after = await self._made_ready(attempt)
        except BaseException as raised:  # a handler may raise what it likes: it ends its attempt alone
            error = raised
        # a process that had completed before it could be told to stop has completed
        if error is None and attempt.cause in (None, "released") and len(value) <= self._result_limit:
            return Settlement(attempt.taken, "completed", value, 0, _keep(fn), children, after)
        return self._end(fn, attempt, error, value)

    def _end(self, fn: Spec, attempt: Attempt, error: BaseException | None, value: bytes) -> Settlement | None:
        """The end of an attempt that failed, or was told to stop; one that did not heed a timeout timed out."""
        taken, cause = attempt.taken, attempt.cause
        if cause == "lost":
            return None
        if cause == "cancelled":
            return Settlement(taken, "cancelled", keep=_keep(fn))
        if cause == "released" or isinstance(error, NoRoom) or self._is_ending():
            return Settlement(taken, "released")
        if isinstance(error, ForkserverLost) and cause is None:
            return Settlement(taken, "lost", failure(error).record, keep=_keep(fn))
        if cause == "timeout":
            error = Timeout(f"did not end within {fn.policy.timeout:g} s")
        if error is None:
            error = ResultTooLarge(len(value), self._result_limit)
        return self._failed(fn, taken, error)

    async def _made_ready(self, attempt: Attempt) -> tuple[Sequence[NewJob], NewJob | None]:
        """The jobs that a handler asked for, made ready. Raises what `Intake.prepare` does for a wrong one."""
        job_id, after = attempt.taken.id, attempt.follow_up
        join = None if after is None else job_id
        jobs = [await self._ready(job_id, asked, join) for asked in attempt.asked]
        return jobs, None if after is None else await self._ready(job_id, after)

    async def _ready(self, job_id: str, asked: tuple[str, JobRequest], join: str | None = None) -> NewJob:
        """Waits while Redis is away: the handler has done its work, and must not be run again for that."""
        child_id, request = asked
        while True:
            try:
                return (await self._intake.prepare(request, beside=job_id, join=join))._replace(id=child_id)
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE)

    async def _call(self, fn: Spec, attempt: Attempt) -> bytes:
        """The handler's result, packed."""
        if isinstance(fn, Function) and fn.isolation != "process":
            return codec.pack_shown(await self._call_here(fn, attempt))
        return await self._call_child(fn, attempt)

    async def _call_here(self, fn: Function, attempt: Attempt) -> Any:
        arguments = fn.arguments(attempt.taken.payload, partial(self._context, attempt))
        timer = self._timer(fn, attempt)
        try:
            with printed.By(attempt.taken):
                if fn.is_async:
                    value = await contained.Contained(fn.handler(**arguments))
                else:
                    value = await self._threads.run(fn.handler, arguments)
            if attempt.cause is not None:  # it was told to stop: what it returns may be half of the work
                raise asyncio.CancelledError
            return value
        finally:
            timer.cancel()
            if attempt.ctx is not None:
                attempt.follow_up = attempt.ctx.follow_up

    async def _call_child(self, fn: Spec, attempt: Attempt) -> bytes:
        taken = attempt.taken
        job = list(astuple(_info(taken)))
        timers: list[asyncio.TimerHandle] = []

        def begun() -> None:  # what it took to find and load a child is not the handler's
            timers.append(self._timer(fn, attempt))

        try:
            value, started = await self._pool.run(fn, job, taken.payload, _Sink(attempt, self._report), begun)
        finally:
            for timer in timers:
                timer.cancel()
        if started:
            asked, follow_up = codec.unpack(started)
            attempt.asked = [_request(one) for one in asked]
            attempt.follow_up = None if follow_up is None else _request(follow_up)
        packed: bytes = value
        return packed

    def _timer(self, fn: Spec, attempt: Attempt) -> asyncio.TimerHandle:
        """A timer costs a fraction of what asyncio.timeout does, and cancels as losing the lease does."""
        return asyncio.get_running_loop().call_later(fn.policy.timeout, attempt.cancel, "timeout")

    def _context(self, attempt: Attempt) -> Context:
        ctx = attempt.ctx = Context(
            _info(attempt.taken), lambda progress: self._report(attempt, progress), self._files
        )
        attempt.asked = ctx.asked
        return ctx

    def _failed(self, fn: Spec, taken: Taken, error: BaseException) -> Settlement:
        failed = failure(error, fn.policy.retry)
        if failed.final or taken.tries >= taken.max_attempts:
            outcome: Literal["failed", "retry"] = "failed"
            delay = 0.0
        else:
            outcome = "retry"
            delay = _policy(fn, taken).delay(taken.tries) if failed.seconds is None else failed.seconds
            delay = min(delay, _LONGEST)
        log.get("worker").warning(
            "attempt.failed",
            job=taken.id,
            function=taken.type,
            attempt=taken.attempt,
            error=failed.told,
            next=f"retry in {delay:.1f} s" if outcome == "retry" else "none: the job has failed",
        )
        return Settlement(taken, outcome, failed.record, int(delay * 1000), _keep(fn))


def _info(taken: Taken) -> JobInfo:
    of_job = (taken.id, taken.type, taken.lane, taken.attempt, taken.max_attempts, taken.created_at)
    return JobInfo(*of_job, taken.tries, taken.tick)


def _policy(fn: Spec, taken: Taken) -> Retry:
    own = taken.backoff
    return fn.policy.retry if own is None else Retry(base=own[0], cap=own[1])


def _keep(fn: Spec) -> int | None:
    """ms for which the function's settled jobs are kept, None for as long as the settings say."""
    return None if fn.policy.keep is None else durations.kept_ms(fn.policy.keep)


class _Sink:
    """Where what a child tells of its attempt goes; the job is bound to what it logs."""

    def __init__(self, attempt: Attempt, report: Report) -> None:
        self._attempt = attempt
        self._report = report
        self._log: Any = None

    def progress(self, told: dict[str, Any]) -> None:
        self._report(self._attempt, told)

    def log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self._log is None:
            taken = self._attempt.taken
            self._log = log.get("function").bind(job=taken.id, function=taken.type, attempt=taken.attempt)
        log.tell(self._log, level, event, fields)


def _request(packed: list[Any]) -> tuple[str, JobRequest]:
    job_id, fields = packed
    return job_id, _unpacked(fields)


def _unpacked(fields: dict[str, Any]) -> JobRequest:
    return JobRequest(**{**fields, "then": [_unpacked(one) for one in fields["then"]]})
