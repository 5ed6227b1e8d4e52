"""How long a caller waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from runtime.errors import StoreUnavailable

WITHIN = 1.9  # seconds until a call that got no answer is an error

Answer = TypeVar("Answer")


async def within(call: Awaitable[Answer]) -> Answer:
    """The call's answer. Raises StoreUnavailable after 1.9 s without one."""
    try:
        async with asyncio.timeout(WITHIN):
            return await call
    except TimeoutError:
        raise StoreUnavailable(f"Redis did not answer within {WITHIN} s") from None


async def each_within(parts: AsyncIterator[Answer]) -> AsyncIterator[Answer]:
    """The parts of a long change. Raises StoreUnavailable after 1.9 s without the next."""
    while True:
        try:
            part = await within(anext(parts))
        except StopAsyncIteration:
            return
        yield part
