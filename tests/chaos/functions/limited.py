"""Two at once in the whole fleet."""

import asyncio

from runtime import Context, function

from ._ledger import note


@function(concurrency=2)
async def handle(ctx: Context) -> None:
    note("start", ctx)
    await asyncio.sleep(0.005)
    note("end", ctx, outcome="completed")
