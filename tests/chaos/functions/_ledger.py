"""What handlers write down for themselves: an account that Redis has no part in."""

import os
import time

FILE = os.environ["CHAOS_LEDGER"]


def note(what, ctx, **more):
    """One line, appended whole (O_APPEND): what, when, which attempt, in which process."""
    extra = " ".join(f"{name}={value}" for name, value in more.items())
    line = f"{what} {time.time_ns() // 1_000_000} {ctx.job.id} {ctx.job.attempt} {os.getpid()} {extra}\n"
    handle = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
