"""Starts more children than one call stores."""

from runtime import Context, function

from ._ledger import note


@function(lane="high")
async def handle(ctx: Context) -> list[str]:
    note("start", ctx)
    ids = [ctx.enqueue("quick", {"n": n}) for n in range(600)]
    note("end", ctx, outcome="completed")
    return ids
