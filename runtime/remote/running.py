"""An attempt that runs here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime import log
from runtime.errors import Stopped
from runtime.handlers.context import Context, JobInfo
from runtime.handlers.spec import Function
from runtime.jobs.failure import ResultTooLarge, failure
from runtime.remote.started import started_messages
from runtime.rpc.encoding import decode, encode
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.job_messages import progress_message, text
from runtime.values import codec, ids
from runtime.worker.threads import Threads

_LONGEST = 10 * 365 * 86_400.0  # seconds until another attempt
_FIELDS = 16 << 10  # characters of a line's fields
_EVENT = 4000
_TOGETHER = 100  # started jobs that are told before others get their turn
Send = Callable[[pb.WorkRequest], None]


class Running(log.Speaker):
    """Runs a handler, and sends what it tells and what comes of it."""

    __slots__ = ("_context", "_files", "_function", "_message", "_result_limit", "_send", "_task", "_threads")

    def __init__(
        self,
        message: pb.Attempt,
        function: Function,
        threads: Threads,
        files: Path,
        result_limit: int,
        send: Send,
    ) -> None:
        """`result_limit`: bytes. `send`: from any thread."""
        self._result_limit = result_limit
        self._message = message
        self._function = function
        self._threads = threads
        self._files = files
        self._send = send
        info = _info(message)
        super().__init__(info)
        new_ids = (ids.following(message.start_id, number) for number in itertools.count())
        self._context = Context(info, self._progress, self._emit, files, new_ids)
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Until the handler has ended, whatever it does."""
        outside = log.SPEAKER.set(self)
        try:
            try:
                end = self._completed(await self._value())
                if end.HasField("completed"):
                    await self._tell_started()
            except BaseException as error:  # a handler may raise what it likes: it ends its attempt alone
                end = self._end(error)
        except Exception as error:  # whatever it was, an end must be told: the slot waits for it
            end = pb.WorkRequest(failed=pb.Failed(type=type(error).__name__, message="its end could not be told"))
        finally:
            log.SPEAKER.reset(outside)
        self._tell(end)

    def _completed(self, value: Any) -> pb.WorkRequest:
        if self._context.cancelled:  # what it returned may be half-done work
            return pb.WorkRequest(stopped=pb.Stopped())
        packed = codec.pack_shown(value)
        result, encoding = encode(codec.unpack(packed))
        size = max(len(packed), len(result) // 2)  # the gateway takes messages of twice its limit
        if size > self._result_limit:
            raise ResultTooLarge(size, self._result_limit)
        return pb.WorkRequest(completed=pb.Completed(result=result, result_encoding=encoding))

    async def _tell_started(self) -> None:
        """Raises JobInvalid; nothing of it counts unless `completed` follows."""
        for number, message in enumerate(started_messages(self._context, self._message.start_id)):
            self._tell(message)
            if number % _TOGETHER == _TOGETHER - 1:
                await asyncio.sleep(0)

    def cancel(self) -> None:
        """Asks the handler to stop. A `def` handler has to look at `ctx.cancelled`: a thread cannot be ended."""
        self._context.stop()
        if self._task is not None:
            self._task.cancel()

    async def _value(self) -> Any:
        message, function = self._message, self._function
        payload = codec.pack(decode(message.payload, message.payload_encoding))
        arguments = function.arguments(payload, lambda: self._context)
        if not function.is_async:
            return await self._threads.run(function.handler, arguments)
        self._task = asyncio.get_running_loop().create_task(function.handler(**arguments))
        return await self._task

    def _end(self, error: BaseException) -> pb.WorkRequest:
        if isinstance(error, (Stopped, asyncio.CancelledError)) and self._context.cancelled:
            return pb.WorkRequest(stopped=pb.Stopped())
        failed = failure(error, self._function.policy.retry)
        shown = codec.unpack(failed.record)
        return pb.WorkRequest(
            failed=pb.Failed(
                type=text(shown["type"]),
                message=text(shown["message"]),
                traceback=text(shown["traceback"]),
                permanent=failed.final,
                retry_after_ms=None if failed.seconds is None else int(min(failed.seconds, _LONGEST) * 1000),
            )
        )

    # what it tells meanwhile, from any thread

    def keep(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        names = log.names(self.taken)
        shown = {str(name): codec.showable(value) for name, value in fields.items() if name not in names}
        shown.pop("event", None)
        packed = codec.to_json(codec.showable(shown)).decode()
        kept = packed if len(packed) <= _FIELDS else '{"cut": true}'
        self._tell(pb.WorkRequest(line=pb.Line(level=level, event=text(event)[:_EVENT], fields=kept)))

    def _progress(self, report: dict[str, Any]) -> None:
        self._tell(pb.WorkRequest(progress=progress_message(report)))

    def _emit(self, packed: bytes) -> None:
        value, encoding = encode(codec.unpack(packed))
        self._tell(pb.WorkRequest(output=pb.Output(value=value, encoding=encoding)))

    def _tell(self, request: pb.WorkRequest) -> None:
        request.job_id, request.attempt = self._message.job_id, self._message.attempt
        self._send(request)


def _info(message: pb.Attempt) -> JobInfo:
    return JobInfo(
        message.job_id,
        message.type,
        message.lane,
        message.attempt,
        message.max_attempts,
        message.created_at,
        message.tries,
        message.scheduled_for if message.HasField("scheduled_for") else None,
        codec.from_json(message.event.encode()) if message.event else None,
        dict(message.trace),
    )
