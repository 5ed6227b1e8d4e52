"""Starts three children, and one job when they have settled."""

from runtime import Context, function

from ._ledger import note


@function(lane="high")
async def handle(ctx: Context) -> list[str]:
    note("start", ctx)
    ids = [ctx.enqueue("quick", {"n": n, "fail": n % 2}) for n in range(3)]
    ids.append(ctx.when_all_settled("quick", {"n": 9}))
    note("end", ctx, outcome="completed")
    return ids
