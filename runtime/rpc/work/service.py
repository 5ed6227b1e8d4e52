"""The service of workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.guard import Guard
from runtime.rpc.service import Service
from runtime.rpc.status import RequestInvalid, StreamCut
from runtime.rpc.work.hello import Announced, read_hello
from runtime.rpc.work.session import Session
from runtime.rpc.work.starting import Starting
from runtime.settings import Settings

_HELLO_WITHIN = 10.0  # seconds


class Work:
    """Serves remote workers, each by a session."""

    def __init__(self, guard: Guard, settings: Settings) -> None:
        self._guard = guard
        self._settings = settings
        self._sessions: set[Session] = set()
        self._starting = Starting(settings)
        self._leaves = False

    @property
    def service(self) -> Service:
        descriptor = pb.DESCRIPTOR.services_by_name["WorkerService"]
        return Service(descriptor, {"Work": self.work})

    async def work(self, requests: AsyncIterator[pb.WorkRequest], _: str) -> AsyncIterator[pb.WorkResponse]:
        self._require_staying()
        hello = await _hello(requests)
        worker = await asyncio.to_thread(read_hello, hello, self._settings)  # it takes its time
        await self._require_allowed(worker)
        self._require_staying()
        session = Session(worker, self._guard, self._settings, self._starting)
        self._sessions.add(session)
        session.working.add_done_callback(lambda _: self._sessions.discard(session))
        async with aclosing(session.responses(requests)) as responses:
            async for response in responses:
                yield response

    def _require_staying(self) -> None:
        if self._leaves:
            raise StreamCut("this gateway leaves: connect anew, to another or in a second")

    async def _require_allowed(self, worker: Announced) -> None:
        """Its functions, and what they reach by themselves, are the caller's. Raises AccessForbidden."""
        for name, function in worker.catalogue.functions.items():
            policy = function.policy
            for reached in (name, policy.on_success, policy.on_failure):
                if reached is not None:
                    await self._guard.require_function(reached)
            if policy.on:
                self._guard.require_all(f"{name} subscribes to events")

    def leave(self) -> None:
        """No more is taken from now on, and no worker comes."""
        self._leaves = True
        for session in self._sessions:
            session.leave()

    async def ended(self) -> None:
        """Returns once nothing is held for any worker."""
        if self._sessions:
            await asyncio.wait({session.working for session in self._sessions})


async def _hello(requests: AsyncIterator[pb.WorkRequest]) -> pb.Hello:
    """Raises RequestInvalid."""
    try:
        first = await asyncio.wait_for(anext(requests), _HELLO_WITHIN)
    except (TimeoutError, StopAsyncIteration):
        first = pb.WorkRequest()
    if first.WhichOneof("message") != "hello":
        raise RequestInvalid(f"a worker says hello first, within {_HELLO_WITHIN:g} s")
    return first.hello
