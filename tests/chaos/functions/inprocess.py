"""Works in a process of its own, which is killed as often as it is told to be."""

import os
import signal
import time

from runtime import Context, Retry, function

from ._ledger import note


@function(retry=Retry(max_attempts=4, base=0.05, cap=0.2))
def handle(ctx: Context, ms: int = 0, fail: int = 0) -> int:
    note("start", ctx)
    time.sleep(ms / 1000)
    if ctx.job.tries <= fail:
        note("end", ctx, outcome="retry")
        os.kill(os.getpid(), signal.SIGKILL)
    note("end", ctx, outcome="completed")
    return ms
