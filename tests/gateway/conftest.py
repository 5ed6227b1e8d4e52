"""A gateway as a process of its own, and clients that are not ours: httpx, raw sockets, wrk."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
async def http(process: Callable[..., Process], until: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running gateway."""
    port = free_port()
    process("gateway", "--port", str(port), BODY_LIMIT="20000")
    until(lambda: _listens(port), "gateway")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        yield client


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def deployed(client: Any) -> None:
    """Two functions that the gateway knows, and no worker that has them."""
    from tests.conftest import deploy  # noqa: PLC0415

    async def add(a: int, b: int = 0) -> int:
        return a + b

    async def echo(payload: Any) -> Any:
        return payload

    await deploy(client, add=add, echo=echo)
