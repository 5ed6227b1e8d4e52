"""Takes any payload and drops it."""

from typing import Any


async def handle(payload: Any) -> None: ...
