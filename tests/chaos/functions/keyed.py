"""One at a time for each customer."""

import asyncio

from runtime import Context, function

from ._ledger import note


@function(concurrency=1, concurrency_key="customer")
async def handle(ctx: Context, customer: int) -> int:
    note("start", ctx, customer=customer)
    await asyncio.sleep(0.002)
    note("end", ctx, outcome="completed")
    return customer
