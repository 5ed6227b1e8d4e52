"""A child: it loads one version of one function, and runs its attempts, one at a time.

Messages are msgpack, one after the other.
    to it     ["load", {name, path, version, code, memory, weigh, files, result_limit, level}]
              ["run", job, payload]
    from it   ["loaded", spec]   ["broken", traceback]
              ["progress", {…}]   ["emit", packed]   ["log", level, event, fields]
              ["done", value, started, resident, leftovers]         started: packed follow_up and requests, or b""
              ["failed", [record, final, seconds, summary], resident, leftovers]
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgpack
import structlog

from runtime.errors import Stopped
from runtime.handlers.context import Context, JobInfo
from runtime.handlers.loader import Source, load
from runtime.handlers.spec import Function
from runtime.jobs.event import Publication
from runtime.jobs.failure import OutOfMemory, ResultTooLarge, failure, load_trace
from runtime.jobs.request import JobRequest, check_started
from runtime.jobs.retry import Retry
from runtime.values import codec
from runtime.worker.processes import logs, os_limits

_TERM = (signal.SIGTERM,)


class _Context(Context):
    """Remembers whether the handler checks for cancellation: then it is trusted to leave by itself."""

    __slots__ = ("cooperates",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cooperates = False
        self._log = structlog.get_logger("function")  # the worker adds the job's name

    @property
    def cancelled(self) -> bool:
        self.cooperates = True
        return self._stopped


class Executor:
    """What a child does: loads its function, and runs one attempt after the other for the worker."""

    def __init__(self, worker: socket.socket) -> None:
        self._worker = worker
        self._streams = (sys.stdout, sys.stderr)
        self._function: Function | None = None
        self._ctx: _Context | None = None
        self._handling = False
        self._stopped = False
        self._forked = False  # whether this is a copy that a handler, or a module, has made
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._lock = threading.Lock()
        self._saying = False

    def serve(self) -> None:
        """Until the worker closes the socket, or an attempt was stopped."""
        signal.signal(signal.SIGTERM, self._stop)
        # block SIGTERM during a fork, so that the copy does not lose it before it resets our handler
        os.register_at_fork(
            before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _TERM),
            after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERM),
            after_in_child=self._be_a_copy,
        )
        for kind, *arguments in self._heard():
            if kind == "load":
                self._load(arguments[0])
            else:
                self._run(*arguments)
            if self._stopped or self._forked:
                return

    def _be_a_copy(self) -> None:
        """A process that the handler forked must never write to our socket; it ends as any process does."""
        self._forked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERM)

    def _heard(self) -> Iterator[list[Any]]:
        unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
        while data := self._worker.recv(1 << 18):
            unpacker.feed(data)
            yield from unpacker

    def _say(self, *message: Any) -> None:
        """From any thread; a signal that arrives meanwhile is handled once the message is complete."""
        if self._forked:
            return
        packed = codec.pack(message)
        with self._lock:
            self._saying = True
            self._worker.sendall(packed)
            self._saying = False
        if self._stopped:
            self._heed()

    def _load(self, options: dict[str, Any]) -> None:
        self._loaded = options
        logs.forward(lambda *message: self._say("log", *message), options["level"])
        if options["memory"] is not None:
            os_limits.limit_memory(options["memory"])
        try:
            self._function = load(Source(options["name"], options["path"], options["version"], options["code"]))
        except BaseException as error:
            cause = OutOfMemory(options["memory"]) if isinstance(error, MemoryError) else error
            self._say("broken", load_trace(cause))
        else:
            self._say("loaded", self._function.packed())

    def _run(self, job: list[Any], payload: bytes) -> None:
        ctx: _Context = _Context(
            JobInfo(*job),
            lambda report: self._report(ctx, "progress", report),
            lambda packed: self._report(ctx, "emit", packed),
            Path(self._loaded["files"]),
        )
        self._ctx = ctx
        try:
            value = codec.pack_shown(self._call(ctx, payload))
            if len(value) > self._loaded["result_limit"]:
                raise ResultTooLarge(len(value), self._loaded["result_limit"])
            answer: list[Any] = ["done", value, _started(ctx)]
        except BaseException as error:
            cause = OutOfMemory(self._loaded["memory"]) if isinstance(error, MemoryError) else error
            answer = ["failed", list(failure(cause, self._policy_retry()))]
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):  # the handler may have closed it
                stream.flush()
        self._ctx = None
        self._say(*answer, os_limits.resident() if self._loaded["weigh"] else 0, _has_children())

    def _policy_retry(self) -> Retry | None:
        return None if self._function is None else self._function.policy.retry

    def _report(self, ctx: _Context, kind: str, report: dict[str, Any] | bytes) -> None:
        """Progress or output; a thread that outlived its attempt must not report on the next one."""
        if self._ctx is ctx:
            self._say(kind, report)

    def _call(self, ctx: _Context, payload: bytes) -> Any:
        function = self._function
        assert function is not None
        arguments = function.arguments(payload, lambda: ctx)
        if self._stopped:
            raise Stopped
        self._handling = True
        try:
            call = self._call_async if function.is_async else _call_plainly
            value = call(function, arguments)
        finally:
            self._handling = False
        if self._stopped:  # its result may be partial; had the stop come later, the attempt would have completed
            raise Stopped
        return value

    def _call_async(self, function: Function, arguments: dict[str, Any]) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def call() -> Any:
            self._task = asyncio.current_task()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop, signal.SIGTERM, None)
            return await function.handler(**arguments)

        try:
            return self._runner.run(call())
        finally:
            self._task = None
            self._runner.get_loop().remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the attempt is over. A child that is idle or still loads leaves at once."""
        self._stopped = True
        if self._ctx is None:
            os._exit(0)
        self._ctx.stop()
        if not self._saying:
            self._heed()

    def _heed(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if self._task is not None:
            self._task.cancel()
        elif self._handling and not (self._ctx and self._ctx.cooperates):
            self._handling = False
            raise Stopped


def _call_plainly(function: Function, arguments: dict[str, Any]) -> Any:
    return function.handler(**arguments)


def _started(ctx: Context) -> bytes:
    """The jobs that start if the attempt completes. Raises what packing does for what cannot be stored."""
    if not ctx.requested and ctx.follow_up is None:
        return b""
    packed = [codec.pack(ctx.follow_up and _packed(ctx.follow_up))]
    octets = 0
    for requested in ctx.requested:
        row = _packed(requested)
        octets += len(row[1])
        check_started(octets)
        packed.append(codec.pack(row))
    return b"".join(packed)


def _packed(requested: tuple[str, JobRequest | Publication]) -> list[Any]:
    """Its id, its payload, packed, and the rest of the request; of an event its attributes."""
    job_id, request = requested
    if isinstance(request, Publication):
        return [job_id, codec.pack(request.data), {"event": request.event.attributes}]
    return [job_id, codec.pack(request.payload), {**request.as_options(), "payload": None}]


def _has_children() -> bool:
    """Whether the handler left processes behind."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def main(forkserver: int, worker: int, output: int) -> None:
    """What a forked process does; the caller ends it when this returns or raises."""
    os.setsid()  # a session and a group of its own: Ctrl-C is the worker's to pass on
    os_limits.die_with(forkserver, signal.SIGKILL)
    os_limits.adopt_orphans()
    os_limits.die_first()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    # line by line: who follows the job sees what it prints as it does
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.enable()
    try:
        Executor(socket.socket(fileno=worker)).serve()
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
        raise
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
