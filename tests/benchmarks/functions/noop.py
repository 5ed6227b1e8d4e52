"""Counts its jobs, and notes when the first began (BENCH_MARK names the file)."""

import os
import time

count = 0


async def handle(x: int) -> int:
    global count
    if count == 0:
        with open(os.environ["BENCH_MARK"], "w") as file:
            file.write(str(time.monotonic_ns()))
    count += 1
    return x
