"""Write the payload to the log."""

from typing import Any

from runtime import Context


async def handle(ctx: Context, payload: Any) -> None:
    ctx.log.info("printed", payload=payload)
