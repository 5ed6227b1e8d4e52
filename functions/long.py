"""Work in steps and report progress: something to watch, cancel and kill."""

import asyncio
from typing import Annotated

from pydantic import Field

from runtime import Context, function


@function(lane="low", timeout=3600)
async def handle(
    ctx: Context,
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10,
    seconds: Annotated[float, Field(ge=0, le=3600, description="in all")] = 5.0,
) -> dict[str, float]:
    for step in range(1, steps + 1):
        await asyncio.sleep(seconds / steps)
        ctx.progress(step, steps, f"step {step} of {steps}")
    return {"steps": steps, "seconds": seconds}
