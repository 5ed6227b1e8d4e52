"""Take a moment, then write down that this job has run."""

import asyncio
import os

from runtime import Context, function


@function(timeout=60)
async def handle(ctx: Context, seconds: float = 0.3) -> str:
    await asyncio.sleep(seconds)
    line = f"{ctx.job.id} {ctx.job.attempt}\n".encode()
    file = os.open(ctx.file("ledger"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line)  # one write is whole, whoever else appends
    finally:
        os.close(file)
    return "v1"
