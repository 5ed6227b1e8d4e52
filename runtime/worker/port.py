"""A worker's small HTTP port: `/metrics` and `/healthz`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class _Server(uvicorn.Server):
    """Leaves signals to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Port:
    """Serves on a socket of its own until closed."""

    def __init__(self, host: str, port: int, trouble: Callable[[], str | None]) -> None:
        """`trouble`: why the worker does not work, if so. Raises OSError where the port is taken."""
        self._trouble = trouble
        self._socket = socket.create_server((host, port))
        app = Starlette(routes=[Route("/metrics", self._metrics), Route("/healthz", self._health)])
        self._server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="port")

    async def close(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _health(self, _: Request) -> Response:
        trouble = self._trouble()
        return JSONResponse({"status": trouble or "ok"}, 503 if trouble else 200)
