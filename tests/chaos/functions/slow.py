"""Takes a while, so that it is cut off now and then."""

import asyncio

from runtime import Context, function

from ._ledger import note


@function(lane="low")
async def handle(ctx: Context, ms: int = 50) -> int:
    note("start", ctx)
    await asyncio.sleep(ms / 1000)
    note("end", ctx, outcome="completed")
    return ms
