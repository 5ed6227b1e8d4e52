"""One connection to a gateway: attempts come, and run, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import grpc

from runtime import log
from runtime.handlers.spec import Function
from runtime.remote.running import Running
from runtime.remote.stream import Stream
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.worker.threads import Threads


class Ended(NamedTuple):
    """How a connection ended. `was_welcome`: whether the gateway had taken the worker in."""

    was_welcome: bool
    code: grpc.StatusCode
    details: str


class Connection:
    """Made on the event loop on which handlers run."""

    def __init__(
        self,
        channel: grpc.Channel,
        hello: pb.Hello,
        key: str,
        functions: Mapping[str, Function],
        threads: Threads,
        files: Path,
        busy: set[asyncio.Task[None]],
    ) -> None:
        """`busy`: the handlers that run here, also when it has ended: one may ignore that it should stop."""
        self._functions = functions
        self._threads = threads
        self._files = files
        self._busy = busy
        self._loop = asyncio.get_running_loop()
        self._running: dict[tuple[str, int], Running] = {}
        self._was_welcome = False
        self._result_limit = 0
        self._ended: asyncio.Future[Ended] = self._loop.create_future()
        self._log = log.get("remote")
        self._stream = Stream(channel, hello, key, self._on_message, self._on_end)

    async def ended(self) -> Ended:
        """Once it has ended; what ran was told to stop."""
        ended = await self._ended
        for running in self._running.values():
            running.cancel()
        return ended

    def leave(self) -> None:
        """Gets no more; the gateway ends it once all that runs has ended."""
        self._stream.send(pb.WorkRequest(leave=pb.Leave()))

    def cut(self) -> None:
        """Ends it now: what runs is handed to others."""
        self._stream.cancel()

    # called on the stream's thread

    def _on_message(self, message: pb.WorkResponse) -> None:
        self._loop.call_soon_threadsafe(self._receive, message)

    def _on_end(self, code: grpc.StatusCode, details: str) -> None:
        self._loop.call_soon_threadsafe(self._end, code, details)

    # on the event loop

    def _end(self, code: grpc.StatusCode, details: str) -> None:
        if not self._ended.done():
            self._ended.set_result(Ended(self._was_welcome, code, details))

    def _receive(self, message: pb.WorkResponse) -> None:
        kind = message.WhichOneof("message")
        if kind == "welcome":
            self._was_welcome = True
            self._result_limit = message.welcome.result_limit
            self._log.info("remote.started", worker=message.welcome.worker_id, functions=sorted(self._functions))
        elif kind == "attempt":
            self._start(message.attempt)
        elif kind == "cancel":
            self._cancel(message.cancel.job_id, message.cancel.attempt)
        elif kind == "leaving":
            self._log.info("remote.gateway_leaving", running=len(self._running))

    def _cancel(self, job_id: str, attempt: int) -> None:
        running = self._running.get((job_id, attempt))
        if running is not None:
            running.cancel()
        else:  # it has ended, and the gateway will hear of it, or has
            self._stream.send(pb.WorkRequest(job_id=job_id, attempt=attempt, stopped=pb.Stopped()))

    def _start(self, message: pb.Attempt) -> None:
        key = (message.job_id, message.attempt)
        function = self._functions[message.type]
        running = self._running[key] = Running(
            message, function, self._threads, self._files, self._result_limit, self._stream.send
        )
        task = self._loop.create_task(running.run())
        self._busy.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._busy.discard(task)
            self._running.pop(key, None)

        task.add_done_callback(done)
