"""Return the payload as it came."""

from typing import Any


async def handle(payload: Any) -> Any:
    return payload
