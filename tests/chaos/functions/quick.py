"""Ends at once, or fails as often as it is told to."""

from runtime import Context, Retry, function

from ._ledger import note


@function(retry=Retry(max_attempts=4, base=0.05, cap=0.2))
async def handle(ctx: Context, fail: int = 0, n: int = 0) -> int:
    note("start", ctx)
    if ctx.job.tries <= fail:
        note("end", ctx, outcome="retry")
        raise ConnectionError(f"told to fail {fail} times")
    note("end", ctx, outcome="completed")
    return n
