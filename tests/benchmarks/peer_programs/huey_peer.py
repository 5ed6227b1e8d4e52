"""Huey: a producer, or what its consumer imports; results are kept."""

import os
import time

from huey import RedisHuey

huey = RedisHuey("bench", port=int(os.environ["BENCH_PORT"]), blocking=True)
first = True


@huey.task()
def noop(x):
    global first
    if first:
        first = False
        with open(os.environ["BENCH_MARK"], "w") as file:
            file.write(str(time.monotonic_ns()))
    return x


def produce():
    for n in range(int(os.environ["BENCH_JOBS"])):
        noop(n)
