"""Running one attempt, from payload to outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from runtime import log, tracing
from runtime.handlers.spec import Spec
from runtime.jobs.failure import ResultTooLarge, RunnerLost, Timeout, failure
from runtime.jobs.retry import Retry
from runtime.store.attempts import Settlement, Taken
from runtime.store.rows import NewJob
from runtime.values import durations
from runtime.worker.attempt import Attempt
from runtime.worker.calls import Caller
from runtime.worker.processes.admission import NoRoom
from runtime.worker.starts import Lost, Starts

_MAX_DELAY = 10 * 365 * 86_400.0  # seconds; a job's times stay within four-digit years


class Runner:
    """Runs attempts and returns their settlements."""

    def __init__(
        self,
        calls: Caller,
        starts: Starts,
        result_limit: int,
        is_ending: Callable[[], bool] = lambda: False,
        taken_no_more: asyncio.Event | None = None,
    ) -> None:
        """`result_limit`: bytes. `is_ending`: whether the event loop ends with all that runs on it, which is no
        attempt's fault. `taken_no_more`: set then, once what is handed back does not come to this worker again."""
        self._calls = calls
        self._starts = starts
        self._result_limit = result_limit
        self._is_ending = is_ending
        self._taken_no_more = taken_no_more

    async def run(self, attempt: Attempt) -> Settlement | None:
        """The attempt's outcome, whatever the handler does; None where the attempt was lost."""
        taken = attempt.taken
        trace = taken.trace if taken.extras else None
        if not tracing.is_traced(trace):
            return await self._run(attempt)
        with tracing.consuming(trace, taken.type, taken.id, taken.attempt) as consumed:
            settlement = await self._run(attempt)
            consumed.end("lost" if settlement is None else settlement.outcome)
            return settlement

    async def _run(self, attempt: Attempt) -> Settlement | None:
        value = b""
        children: Sequence[NewJob] = ()
        after: NewJob | None = None
        error: BaseException | None = None
        attempt.begun = True
        try:
            if attempt.cause is not None:
                raise asyncio.CancelledError
            value = await self._calls.call(attempt)
            if attempt.requested or attempt.follow_up:
                children, after = await self._starts.prepare(attempt)
        except BaseException as raised:  # a handler may raise what it likes: it ends its attempt alone
            error = raised
        # a process that completed before the stop reached it has completed
        if error is None and attempt.cause in (None, "released") and len(value) <= self._result_limit:
            keep, staged = _keep(attempt.function), attempt.staged
            return Settlement(attempt.taken, "completed", value, 0, keep, children, after, b"", staged)
        if self._taken_no_more is not None and self._is_ending():
            await self._taken_no_more.wait()
        return self._end(attempt, error, value)

    def _end(self, attempt: Attempt, error: BaseException | None, value: bytes) -> Settlement | None:
        """The end of an attempt that failed or was stopped; one that ignored its timeout has timed out.

        What it has staged goes with it.
        """
        settlement = self._end_of(attempt, error, value)
        return settlement._replace(staged=attempt.staged) if settlement and attempt.staged else settlement

    def _end_of(self, attempt: Attempt, error: BaseException | None, value: bytes) -> Settlement | None:
        fn, taken, cause = attempt.function, attempt.taken, attempt.cause
        if cause == "lost" or isinstance(error, Lost):
            return None
        if cause == "cancelled":
            return Settlement(taken, "cancelled", keep=_keep(fn))
        if cause == "released" or isinstance(error, NoRoom) or self._is_ending():
            return Settlement(taken, "released")
        if isinstance(error, RunnerLost) and cause is None:
            return Settlement(taken, "lost", failure(error).record, keep=_keep(fn))
        if cause == "timeout":
            error = Timeout(f"did not end within {fn.policy.timeout:g} s")
        if error is None:
            error = ResultTooLarge(len(value), self._result_limit)
        return failed(fn, taken, error)


def failed(fn: Spec, taken: Taken, error: BaseException) -> Settlement:
    """The end of an attempt with an error: a retry if one is left and may help."""
    failed_as = failure(error, fn.policy.retry)
    if failed_as.final or taken.tries >= taken.max_attempts:
        outcome: Literal["failed", "retry"] = "failed"
        delay = 0.0
    else:
        outcome = "retry"
        delay = _policy(fn, taken).delay(taken.tries) if failed_as.seconds is None else failed_as.seconds
        delay = min(delay, _MAX_DELAY)
    log.get("worker").warning(
        "attempt.failed",
        job=taken.id,
        function=taken.type,
        attempt=taken.attempt,
        error=failed_as.summary,
        next=f"retry in {delay:.1f} s" if outcome == "retry" else "none: the job has failed",
    )
    return Settlement(taken, outcome, failed_as.record, int(delay * 1000), _keep(fn))


def _policy(fn: Spec, taken: Taken) -> Retry:
    own = taken.backoff
    return fn.policy.retry if own is None else Retry(base=own[0], cap=own[1])


def _keep(fn: Spec) -> int | None:
    """ms for which the function's settled jobs are kept, None for as long as the settings say."""
    return None if fn.policy.keep is None else durations.kept_ms(fn.policy.keep)
