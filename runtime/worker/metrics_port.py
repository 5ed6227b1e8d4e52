"""A worker's small HTTP port: `/metrics` and `/healthz`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class _Server(uvicorn.Server):
    """Leaves signals to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class MetricsPort:
    """Serves on a socket of its own until closed."""

    def __init__(self, listener: socket.socket) -> None:
        """Nothing is answered before `start`."""
        self._socket = listener
        self._serving: tuple[_Server, asyncio.Task[None]] | None = None

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self, trouble: Callable[[], Awaitable[str | None]], metrics: Callable[[], Awaitable[bytes]]) -> None:
        """`trouble`: gives the reason if what stands behind it is not working. `metrics`: in Prometheus' text."""

        async def health(_: Request) -> Response:
            reason = await trouble()
            return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)

        async def scraped(_: Request) -> Response:
            return Response(await metrics(), media_type=CONTENT_TYPE_LATEST)

        app = Starlette(routes=[Route("/metrics", scraped), Route("/healthz", health)])
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._serving = server, asyncio.create_task(server.serve([self._socket]), name="port")

    async def close(self) -> None:
        if self._serving is not None:
            server, task = self._serving
            server.should_exit = True
            await task
