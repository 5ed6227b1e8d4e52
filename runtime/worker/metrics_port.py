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


class MetricsPort:
    """Serves on a socket of its own until closed."""

    def __init__(self, host: str, port: int) -> None:
        """Listens at once; nothing is answered before `start`. Raises OSError where the port is taken."""
        self._socket = socket.create_server((host, port))
        self._serving: tuple[_Server, asyncio.Task[None]] | None = None

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self, trouble: Callable[[], str | None]) -> None:
        """`trouble`: gives the reason if the worker is not working."""

        async def health(_: Request) -> Response:
            reason = trouble()
            return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)

        app = Starlette(routes=[Route("/metrics", _metrics), Route("/healthz", health)])
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self._serving = server, asyncio.create_task(server.serve([self._socket]), name="port")

    async def close(self) -> None:
        if self._serving is not None:
            server, task = self._serving
            server.should_exit = True
            await task


async def _metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
