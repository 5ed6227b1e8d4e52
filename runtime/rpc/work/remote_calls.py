"""Having attempts run by a remote worker: what goes to it, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from runtime import log
from runtime.errors import JobInvalid
from runtime.handlers.context import Context
from runtime.jobs.failure import Failure, HandlerFailed, RemoteLost, record
from runtime.rpc.encoding import decode, encode
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.work.starting import AttemptStarting
from runtime.settings import Settings
from runtime.store.attempts import Taken
from runtime.values import codec
from runtime.worker.attempt import Attempt, Reporting
from runtime.worker.calls import job_info, timeout_timer
from runtime.worker.processes.admission import NoRoom

STOP_WITHIN = 2.0  # seconds that a remote handler has to end once it is cancelled
_LEVELS = ("debug", "info", "warning", "error", "critical")
_REASONS = {
    "cancelled": pb.CANCEL_REASON_CANCELLED,
    "timeout": pb.CANCEL_REASON_TIMEOUT,
    "lost": pb.CANCEL_REASON_LOST,
    "released": pb.CANCEL_REASON_RELEASED,
}
_MESSAGE = 500
_NAME = 200
_FIELDS = 16 << 10


class _Running(NamedTuple):
    """An attempt that the worker runs. `outcome`: its result, packed."""

    attempt: Attempt
    outcome: asyncio.Future[bytes]
    starting: AttemptStarting


class RemoteCalls:
    """The attempts that one remote worker runs, by job and number."""

    def __init__(
        self,
        send: Callable[[pb.WorkResponse], None],
        starting: Callable[[Attempt], AttemptStarting],
        settings: Settings,
        reports: Reporting,
    ) -> None:
        """`send`: sends a message to it. `starting`: makes what an attempt asks for."""
        self._send = send
        self._starting = starting
        self._settings = settings
        self._reports = reports
        self._running: dict[tuple[str, int], _Running] = {}
        self._is_lost = False

    async def call(self, attempt: Attempt) -> bytes:
        """The result, packed. On cancellation the handler is told to stop; one that completes nevertheless, soon,
        has completed. One that does not say that it has stopped keeps its slot until it does.

        Raises HandlerFailed, RemoteLost, and NoRoom where the worker was lost before.
        """
        if self._is_lost:
            raise NoRoom
        taken = attempt.taken
        key = (taken.id, taken.attempt)
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        starting = self._starting(attempt)
        message = pb.WorkResponse(attempt=_message(attempt, starting.start_id))
        self._running[key] = _Running(attempt, outcome, starting)
        attempt.ctx = self._context(attempt)
        outcome.add_done_callback(partial(self._forget, key))
        timer = timeout_timer(attempt.function, attempt)
        if attempt.task is not None:
            attempt.task.add_done_callback(lambda _: starting.close())
        self._send(message)
        value = await self._outcome(attempt, outcome, timer)
        await starting.finish()
        return value

    async def _outcome(self, attempt: Attempt, outcome: asyncio.Future[bytes], timer: asyncio.TimerHandle) -> bytes:
        taken = attempt.taken
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            reason = _REASONS[attempt.cause or "released"]
            self._send(pb.WorkResponse(cancel=pb.Cancel(job_id=taken.id, attempt=taken.attempt, reason=reason)))
            value = await self._stopped(outcome, attempt)
            if value is None:
                raise
            return value
        finally:
            timer.cancel()

    def receive(self, message: pb.WorkRequest) -> None:
        """What the worker tells of an attempt; of one that it has ended, or never had, nothing is wanted."""
        key = (message.job_id, message.attempt)
        running = self._running.get(key)
        if running is None or running.outcome.done():
            return
        attempt, outcome, starting = running
        kind = message.WhichOneof("message")
        if kind == "completed":
            self._complete(outcome, message.completed)
        elif kind == "failed":
            outcome.set_exception(HandlerFailed(_failure(attempt, message.failed)))
        elif kind == "stopped":
            outcome.set_exception(HandlerFailed(_stopped_by_itself()))
        elif kind in ("start", "publish"):
            starting.add(message)
        elif attempt.cause is None:
            self._report(attempt, kind, message)

    def lose(self, why: str, taken_no_more: asyncio.Event) -> None:
        """The worker is gone: its attempts are handed to others, once they do not come back here."""
        self._is_lost = True
        self._losing = asyncio.get_running_loop().create_task(self._lose(why, taken_no_more))

    async def _lose(self, why: str, taken_no_more: asyncio.Event) -> None:
        await taken_no_more.wait()
        for running in list(self._running.values()):
            if not running.outcome.done():
                running.outcome.set_exception(RemoteLost(why))

    @property
    def running(self) -> int:
        return len(self._running)

    async def _stopped(self, outcome: asyncio.Future[bytes], attempt: Attempt) -> bytes | None:
        """What it completed with, if it did in time; a further cancellation does not interrupt this."""
        waiting = asyncio.ensure_future(asyncio.wait({outcome}, timeout=STOP_WITHIN))
        while not waiting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(waiting)
        if not outcome.done():
            attempt.lingers = outcome
            return None
        return None if outcome.exception() is not None else outcome.result()

    def _forget(self, key: tuple[str, int], _: object) -> None:
        self._running.pop(key, None)

    def _context(self, attempt: Attempt) -> Context:
        """What checks reports, as it does for handlers of Python."""
        report, emit = partial(self._reports.progress, attempt), partial(self._reports.emit, attempt)
        return Context(job_info(attempt.taken), report, emit, self._settings.files_dir)

    def _complete(self, outcome: asyncio.Future[bytes], completed: pb.Completed) -> None:
        try:
            value = decode(completed.result, completed.result_encoding, "result")
            outcome.set_result(codec.pack_shown(value))
        except (JobInvalid, TypeError, ValueError) as error:
            failed = Failure(record("ResultInvalid", str(error)), True, None, f"ResultInvalid: {error}"[:_MESSAGE])
            outcome.set_exception(HandlerFailed(failed))

    def _report(self, attempt: Attempt, kind: str | None, message: pb.WorkRequest) -> None:
        assert attempt.ctx is not None
        try:
            if kind == "progress":
                progress = message.progress
                total = progress.total if progress.HasField("total") else None
                attempt.ctx.progress(_number(progress.done), _number(total), progress.note or None)
            elif kind == "output":
                attempt.ctx.emit(decode(message.output.value, message.output.encoding, "value"))
            elif kind == "line":
                self._tell(attempt, message.line)
        except (JobInvalid, TypeError, ValueError) as error:
            self._tell_line(attempt, "warning", "report.refused", {"report": kind, "error": str(error)})

    def _tell(self, attempt: Attempt, line: pb.Line) -> None:
        if len(line.fields) > _FIELDS:
            raise ValueError(f"fields have at most {_FIELDS} characters")
        fields = codec.from_json(line.fields.encode()) if line.fields else {}
        if not isinstance(fields, dict):
            raise ValueError("fields: an object")
        self._tell_line(attempt, line.level if line.level in _LEVELS else "info", line.event, fields)

    def _tell_line(self, attempt: Attempt, level: str, event: str, fields: dict[str, Any]) -> None:
        """Into this process' log, and into the job's own."""
        if attempt.quota.admit(level):
            log.tell(log.get("function").bind(**log.names(attempt.taken)), level, event[:_MESSAGE], fields)
            self._reports.line(attempt, level, event, fields)
        elif attempt.quota.is_cut:
            self._reports.line(attempt, "warning", "output.cut", {"lines": log.LINES})


def _number(value: Any) -> Any:
    """A double as JSON would write it."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else value


def _message(attempt: Attempt, start_id: str) -> pb.Attempt:
    taken: Taken = attempt.taken
    info = job_info(taken)
    payload, encoding = encode(codec.unpack_any(taken.payload))
    return pb.Attempt(
        job_id=taken.id,
        attempt=taken.attempt,
        type=taken.type,
        payload=payload,
        payload_encoding=encoding,
        lane=taken.lane,
        max_attempts=taken.max_attempts,
        tries=taken.tries,
        created_at=taken.created_at,
        timeout_ms=int(attempt.function.policy.timeout * 1000),
        trace=info.trace,
        event="" if info.event is None else codec.to_json(info.event).decode(),
        scheduled_for=info.scheduled_for,
        start_id=start_id,
    )


def _failure(attempt: Attempt, failed: pb.Failed) -> Failure:
    name = failed.type[:_NAME] or "Error"
    seconds = max(0, failed.retry_after_ms) / 1000 if failed.HasField("retry_after_ms") else None
    may_help = seconds is not None or attempt.function.policy.retry.helps_with({name})
    packed = record(name, failed.message, failed.traceback or None)
    return Failure(packed, failed.permanent or not may_help, seconds, f"{name}: {failed.message}"[:_MESSAGE])


def _stopped_by_itself() -> Failure:
    """Of an attempt that nobody asked to stop; where somebody did, that decides."""
    message = "its worker says that it has stopped, although nobody asked for that"
    return Failure(record("Stopped", message), False, None, f"Stopped: {message}")
