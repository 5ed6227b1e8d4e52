"""Running one attempt, from payload to outcome."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from runtime import codec, log, metrics
from runtime.context import Context, JobInfo
from runtime.discovery import Catalogue
from runtime.errors import PayloadInvalid, Permanent, RetryLater, StoreUnavailable
from runtime.function import Function
from runtime.intake import Intake
from runtime.request import JobRequest, NewJob
from runtime.retry import Retry
from runtime.settings import Settings
from runtime.store.lanes import Settlement, Taken
from runtime.worker.execute import Executor

Cause = Literal["lost", "released", "cancelled", "timeout"]

_LONGEST = 10 * 365 * 86_400.0  # seconds; a job's times stay within four-digit years
_PAUSE = 0.2
_LEAST_KEPT = 1000  # ms: `keep=0` lets those who wait for the job see its result
_MESSAGE = 2_000
_TRACEBACK = 4_000


class Attempt:
    """An attempt that this worker holds; `cause` says why it is being cancelled, if it is."""

    __slots__ = ("begun", "cause", "ctx", "meters", "started", "taken", "task")

    def __init__(self, taken: Taken) -> None:
        self.taken = taken
        self.meters = metrics.of(taken.type, taken.lane)
        self.task: asyncio.Task[None] | None = None
        self.ctx: Context | None = None
        self.cause: Cause | None = None
        self.begun = False  # a task that is cancelled before its first step never runs at all
        self.started = time.perf_counter()

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
        self, catalogue: Catalogue, executor: Executor, intake: Intake, settings: Settings, report: Any
    ) -> None:
        self._catalogue = catalogue
        self._executor = executor
        self._intake = intake
        self._files: Path = settings.files_dir
        self._result_limit = settings.result_limit
        self._report = report

    async def run(self, attempt: Attempt) -> Settlement | None:
        """The attempt's outcome, whatever the handler does; None where the attempt was lost."""
        fn = self._catalogue.functions[attempt.taken.type]
        value = b""
        children: Sequence[NewJob] = ()
        after: NewJob | None = None
        failure: BaseException | None = None
        attempt.begun = True
        try:
            if attempt.cause is not None:
                raise asyncio.CancelledError
            value = codec.pack_shown(await self._call(fn, attempt))
            if attempt.ctx is not None and (attempt.ctx.asked or attempt.ctx.follow_up):
                children, after = await self._children(attempt.taken.id, attempt.ctx)
        except BaseException as error:  # a handler may raise what it likes: it ends its attempt alone
            failure = error
        if failure is None and attempt.cause in (None, "released") and len(value) <= self._result_limit:
            return Settlement(attempt.taken, "completed", value, 0, _keep(fn), children, after)
        return self._end(fn, attempt, failure, value)

    def _end(
        self, fn: Function, attempt: Attempt, failure: BaseException | None, value: bytes
    ) -> Settlement | None:
        """The end of an attempt that failed, or was told to stop; one that did not heed a timeout timed out."""
        taken, cause = attempt.taken, attempt.cause
        if cause == "lost":
            return None
        if cause == "cancelled":
            return Settlement(taken, "cancelled", keep=_keep(fn))
        if cause == "released" and isinstance(failure, asyncio.CancelledError):
            return Settlement(taken, "released")
        if cause == "timeout":
            failure = _TimedOut(f"did not end within {fn.policy.timeout:g} s")
        if failure is None:
            failure = ResultTooLarge(f"the result has {len(value)} bytes, the limit is {self._result_limit}")
        return self._failed(fn, taken, failure)

    async def _children(self, job_id: str, ctx: Context) -> tuple[Sequence[NewJob], NewJob | None]:
        """The jobs that a handler asked for, made ready. Raises what `Intake.prepare` does for a wrong one."""
        join = None if ctx.follow_up is None else job_id
        children = [await self._ready(job_id, asked, join) for asked in ctx.asked]
        return children, None if ctx.follow_up is None else await self._ready(job_id, ctx.follow_up)

    async def _ready(self, job_id: str, asked: tuple[str, JobRequest], join: str | None = None) -> NewJob:
        """Waits while Redis is away: the handler has done its work, and must not be run again for that."""
        child_id, request = asked
        while True:
            try:
                return (await self._intake.prepare(request, beside=job_id, join=join))._replace(id=child_id)
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE)

    async def _call(self, fn: Function, attempt: Attempt) -> Any:
        arguments = fn.bind(codec.unpack(attempt.taken.payload))
        if fn.context is not None:
            arguments[fn.context] = self._context(attempt)
        # a timer costs a fraction of what asyncio.timeout does, and cancels as losing the lease does
        timer = asyncio.get_running_loop().call_later(fn.policy.timeout, attempt.cancel, "timeout")
        try:
            if fn.is_async:
                return await fn.handler(**arguments)
            return await self._executor.run(fn.handler, arguments)
        finally:
            timer.cancel()

    def _context(self, attempt: Attempt) -> Context:
        taken = attempt.taken
        job = JobInfo(
            taken.id, taken.type, taken.lane, taken.attempt, taken.max_attempts, taken.created_at, taken.tries
        )
        attempt.ctx = Context(job, lambda progress: self._report(attempt, progress), self._files)
        return attempt.ctx

    def _failed(self, fn: Function, taken: Taken, error: BaseException) -> Settlement:
        value = _describe(error)
        final = isinstance(error, (Permanent, PayloadInvalid)) or taken.tries >= taken.max_attempts
        if final:
            outcome: Literal["failed", "retry"] = "failed"
            delay = 0.0
        else:
            outcome = "retry"
            delay = error.seconds if isinstance(error, RetryLater) else _policy(fn, taken).delay(taken.tries)
            delay = min(delay, _LONGEST)
        log.get("worker").warning(
            "attempt.failed",
            job=taken.id,
            function=taken.type,
            attempt=taken.attempt,
            error=f"{type(error).__name__}: {_text(error)}"[:500],
            next=f"retry in {delay:.1f} s" if outcome == "retry" else "none: the job has failed",
        )
        return Settlement(taken, outcome, value, int(delay * 1000), _keep(fn))


def _policy(fn: Function, taken: Taken) -> Retry:
    own = taken.backoff
    return fn.policy.retry if own is None else Retry(base=own[0], cap=own[1])


def _keep(fn: Function) -> int | None:
    """ms for which the function's settled jobs are kept, None for as long as the settings say."""
    return None if fn.policy.keep is None else max(_LEAST_KEPT, int(fn.policy.keep * 1000))


class ResultTooLarge(Permanent):
    """A result of more bytes than may be kept."""


class _TimedOut(Exception):
    """An attempt that outlived its function's timeout."""


def _describe(error: BaseException) -> bytes:
    """An error as its job keeps it; the frames of the runtime itself are left out."""
    name = "Timeout" if isinstance(error, _TimedOut) else type(error).__name__
    if isinstance(error, (Permanent, PayloadInvalid, _TimedOut)):
        return error_record(name, _text(error))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/runtime/worker/" not in f.filename]
    text = "".join(traceback.format_list(frames[-12:])) + f"{name}: {_text(error)}"
    return error_record(name, _text(error), text[-_TRACEBACK:])


def _text(error: BaseException) -> str:
    """What an error says; one whose own text cannot be made has none."""
    try:
        return str(error)
    except Exception:
        return "(its text could not be made)"


def error_record(name: str, message: str, trace: str | None = None) -> bytes:
    """An error packed; text that is not valid Unicode is escaped."""
    told = {"type": name, "message": message[:_MESSAGE], "traceback": trace}
    return codec.pack({k: v and v.encode("utf-8", "backslashreplace").decode() for k, v in told.items()})
