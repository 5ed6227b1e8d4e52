"""`make chaos`: a load of jobs while workers and Redis are killed, stopped and restarted; then an exact account.

make chaos                                     20 seeds
make chaos ARGS='--seeds 7 --jobs 5000'        one seed, fewer jobs
make chaos ARGS='--seeds 1-5 --cluster'        on a cluster of six nodes
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import uvloop

from tests.chaos.account import Account
from tests.chaos.cluster_stage import ClusterMonkey, ClusterStage
from tests.chaos.load import Load
from tests.chaos.monkey import Monkey, ServerMonkey
from tests.chaos.stage import Stage


async def run(seed: int, jobs: int, *, on_cluster: bool) -> list[str]:
    """One seed; returns what is wrong, if anything."""
    begun = time.monotonic()
    with ClusterStage() if on_cluster else Stage() as stage:
        dice = random.Random(seed)
        load = Load(stage.settings, random.Random(dice.random()), jobs)
        make_monkey = ClusterMonkey if isinstance(stage, ClusterStage) else ServerMonkey
        monkey: Monkey = make_monkey(stage, random.Random(dice.random()))  # type: ignore[arg-type]
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
    parser.add_argument("--cluster", action="store_true")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        print(f"seed {seed} …", file=sys.stderr, flush=True)
        wrong = uvloop.run(run(seed, given.jobs, on_cluster=given.cluster))
        for line in wrong[:20]:
            print(f"  WRONG: {line}")
        failed += bool(wrong)
    print("every account is exact" if not failed else f"{failed} seeds have a wrong account")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
