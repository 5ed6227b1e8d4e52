"""A gateway on a real socket, and a client that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from runtime.gateway.app import create_app
from runtime.settings import Settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class _Server(uvicorn.Server):
    """A gateway's server inside the test's event loop; signals stay the test's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that serves on a real socket."""
    app = create_app(settings.model_copy(update={"body_limit": 20_000}))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve([listening]))
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            yield client
        server.should_exit = True
        await serving


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def deployed(client: Any) -> None:
    """Two functions that the gateway knows, and no worker that has them."""
    from tests.conftest import deploy

    async def add(a: int, b: int = 0) -> int:
        return a + b

    async def echo(payload: Any) -> Any:
        return payload

    async def ints(xs: list[int]) -> None: ...

    await deploy(client, add=add, echo=echo, ints=ints)
