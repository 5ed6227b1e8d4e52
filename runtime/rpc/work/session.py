"""One remote worker's stream: a worker of ours whose handlers run at the other end of it.

Taking, leases, fences, settling and hand-over are those of any worker. What ends the stream in any other way than
by a farewell loses the worker, and its attempts go to others at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import Context
from functools import partial

from runtime import log
from runtime.errors import AccessDenied, LaneworkError
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.guard import Guard
from runtime.rpc.status import RequestInvalid, StreamCut
from runtime.rpc.work.hello import Announced
from runtime.rpc.work.remote_calls import RemoteCalls
from runtime.rpc.work.starting import AttemptStarting, Starting
from runtime.settings import Settings
from runtime.worker.attempt import Reporting
from runtime.worker.worker import Worker


class Session:
    """From the hello to the end."""

    def __init__(self, announced: Announced, guard: Guard, settings: Settings, starting: Starting) -> None:
        self._guard = guard
        self._make_starting = partial(AttemptStarting, starting, guard.permission())
        self._lease = settings.lease
        self._result_limit = settings.result_limit
        self._responses: asyncio.Queue[pb.WorkResponse | None] = asyncio.Queue()
        self._calls: RemoteCalls | None = None
        self._error: LaneworkError | None = None  # what the stream ends with
        self._heard_at = 0.0
        self._leaves = False
        own = settings.model_copy(update={"concurrency": announced.slots, "processes": 0})
        make_caller = partial(self._make_calls, own)
        self._worker = Worker(own, announced.catalogue, make_caller=make_caller, name=announced.name)
        self._log = log.get("gateway").bind(worker=self._worker.id)
        # until all that it held is settled or handed back, which is no part of the call: in a context of its own
        self.working = asyncio.get_running_loop().create_task(self._work(), context=Context())

    def _make_calls(self, settings: Settings, reports: Reporting) -> RemoteCalls:
        self._calls = RemoteCalls(self._send, self._make_starting, settings, reports)
        return self._calls

    async def _work(self) -> None:
        try:
            await self._worker.serve()
        except LaneworkError as error:
            self._error = self._error or error
        except Exception as error:
            self._log.error("remote.failed", exc_info=error)
            self._error = self._error or StreamCut("the gateway failed; its log has the cause")
        finally:
            self._responses.put_nowait(None)

    async def responses(self, requests: AsyncIterator[pb.WorkRequest]) -> AsyncGenerator[pb.WorkResponse]:
        """What goes to the worker, while what it sends is read. Raises what the stream ends with."""
        loop = asyncio.get_running_loop()
        self._heard_at = time.monotonic()
        roles = (self._welcome(), self._read(requests), self._look_after())
        beside = [loop.create_task(role) for role in roles]
        why = "its stream broke"
        try:
            while (response := await self._responses.get()) is not None:
                yield response
            why = str(self._error or why)
        finally:
            for task in beside:
                task.cancel()
            self._lose(why)
        if self._error is not None:
            raise self._error

    async def _welcome(self) -> None:
        """Once its functions are known; it takes jobs from then on."""
        await self._worker.started.wait()
        self._guard.functions_changed()  # a job may be asked for as soon as the welcome is there
        lease_ms = int(self._lease * 1000)
        welcome = pb.Welcome(worker_id=self._worker.id, lease_ms=lease_ms, result_limit=self._result_limit)
        self._send(pb.WorkResponse(welcome=welcome))

    def leave(self) -> None:
        """The gateway leaves: no more is taken, and what runs has the usual grace to end."""
        if not self._leaves:
            self._leaves = True
            self._send(pb.WorkResponse(leaving=pb.Leaving()))
            self._worker.stop()

    def _send(self, response: pb.WorkResponse) -> None:
        self._responses.put_nowait(response)

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        try:
            async for request in requests:
                self._heard_at = time.monotonic()
                self._receive(request)
        except LaneworkError as error:
            self._end(error)
            return
        except Exception as error:  # whatever the connection died of
            self._end(StreamCut(f"the stream cannot be read: {error}"))
            return
        if not self._leaves or (self._calls is not None and self._calls.running):
            self._end(StreamCut("the stream ended before the worker had left"))

    def _receive(self, request: pb.WorkRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "hello":
            raise RequestInvalid("a worker says hello once")
        if kind == "leave":
            self._leaves = True
            self._worker.stop()
        elif kind not in (None, "renew") and self._calls is not None:
            self._calls.receive(request)

    async def _look_after(self) -> None:
        """Ends the stream of a worker that is silent for as long as a lease lasts, or may no longer be here."""
        while True:
            await asyncio.sleep(self._lease / 4)
            silent = time.monotonic() - self._heard_at
            if silent > self._lease:
                self._end(StreamCut(f"nothing was heard of the worker for {silent:.1f} s"))
            elif not await self._is_valid():
                self._end(AccessDenied("the access key is no longer valid, or this gateway asks for one now"))

    async def _is_valid(self) -> bool:
        try:
            return await self._guard.is_valid()
        except LaneworkError:  # while Redis is away, nobody is refused for that
            return True

    def _end(self, error: LaneworkError) -> None:
        self._error = self._error or error
        self._responses.put_nowait(None)

    def _lose(self, why: str) -> None:
        self._worker.stop()
        if self._calls is not None:
            if (running := self._calls.running) and not self.working.done():
                self._log.warning("remote.lost", running=running, why=why)
            self._calls.lose(why, self._worker.taken_no_more)
