"""`make chaos`: a load of jobs while workers and Redis are killed, stopped and restarted; then an exact account.

make chaos                                     20 seeds
make chaos ARGS='--seeds 7 --jobs 5000'        one seed, fewer jobs
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import uvloop

from tests.chaos.account import Account
from tests.chaos.load import Load
from tests.chaos.monkey import Monkey
from tests.chaos.stage import Stage


async def run(seed: int, jobs: int) -> list[str]:
    """One seed; returns what is wrong, if anything."""
    begun = time.monotonic()
    with Stage() as stage:
        dice = random.Random(seed)
        load = Load(stage.settings, random.Random(dice.random()), jobs)
        monkey = Monkey(stage, random.Random(dice.random()))
        async with load:
            await load.deployed()
            await monkey.beside(load.run())
            stage.restore()
            await load.settled()
            account = Account(load, stage)
            wrong = await account.check()
    took = time.monotonic() - begun
    print(f"seed {seed}: {len(load.accepted)} jobs in {took:.0f} s; {monkey.told()}; {account.told()}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", default="1-20", help="such as 7, or 1-20")
    parser.add_argument("--jobs", type=int, default=20_000)
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        print(f"seed {seed} …", file=sys.stderr, flush=True)
        wrong = uvloop.run(run(seed, given.jobs))
        for line in wrong[:20]:
            print(f"  WRONG: {line}")
        failed += bool(wrong)
    print("every account is exact" if not failed else f"{failed} seeds have a wrong account")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
