"""A gateway on a real socket, and a client that is not ours."""

from __future__ import annotations

import socket
from typing import Any

import pytest


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
async def deployed(client: Any) -> None:
    """Functions that the gateway knows, and no worker that has them."""
    from tests.conftest import deploy

    async def add(a: int, b: int = 0) -> int:
        return a + b

    async def echo(payload: Any) -> Any:
        return payload

    async def ints(xs: list[int]) -> None: ...

    async def union(when: dict[str, int] | int) -> None: ...

    await deploy(client, add=add, echo=echo, ints=ints, union=union)
