"""Returns how many nanoseconds ago it was asked for."""

import time


async def handle(t: int) -> int:
    return time.monotonic_ns() - t
