"""`grpc.health.v1.Health`: serving means that a job could be stored, as `/readyz` says.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

from grpc_health.v1 import health_pb2 as pb

from runtime.errors import LaneworkError
from runtime.rpc.service import Service
from runtime.rpc.status import RequestInvalid

_EVERY = 2.0  # seconds between looks for those who watch


class UnknownService(RequestInvalid):
    """A service that is not here. Its code is the protocol's."""

    code = "service-unknown"
    rpc_code = 5


class Health:
    """`services`: names of those whose state it tells; "" is the server."""

    def __init__(self, check_ready: Callable[[], Awaitable[None]], services: Collection[str]) -> None:
        self._check_ready = check_ready
        self._services = {"", *services}
        self._left = asyncio.Event()

    @property
    def service(self) -> Service:
        descriptor: Any = pb.DESCRIPTOR.services_by_name["Health"]
        return Service(descriptor, {"Check": self.check, "Watch": self.watch})

    async def check(self, request: pb.HealthCheckRequest, _: str) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            raise UnknownService(f"no service {request.service[:100]!r} is here")
        return _response(await self._status())

    async def watch(self, request: pb.HealthCheckRequest, _: str) -> AsyncIterator[pb.HealthCheckResponse]:
        """The state now, and each time it changes."""
        known = request.service in self._services
        told = None
        while True:
            status = await self._status() if known else pb.HealthCheckResponse.SERVICE_UNKNOWN
            if status != told:
                yield _response(status)
                told = status
            try:
                await asyncio.wait_for(self._left.wait(), _EVERY)
                yield _response(pb.HealthCheckResponse.NOT_SERVING)
                return
            except TimeoutError:
                pass

    def leave(self) -> None:
        """Not serving from now on."""
        self._left.set()

    async def _status(self) -> int:
        if self._left.is_set():
            return pb.HealthCheckResponse.NOT_SERVING
        try:
            await self._check_ready()
        except LaneworkError:
            return pb.HealthCheckResponse.NOT_SERVING
        return pb.HealthCheckResponse.SERVING


def _response(status: Any) -> pb.HealthCheckResponse:
    return pb.HealthCheckResponse(status=status)
