"""`make bench`: how fast Lanework is, beside peers and beside Redis alone, all in the same run.

Absolute figures say little on a shared machine: read the ratios, and the spread of the rounds.
    make bench ARGS='--install-peers'          BullMQ (npm) and Huey (pip) into .work/, once
    make bench ARGS='--only drain,latency'     some measures
    make bench ARGS='--against ../before'      the drain of another checkout beside this one's
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    children,
    drain,
    fanout,
    fleet,
    gateway,
    growth,
    history,
    idle,
    peers,
    post,
    rpc,
    scale,
    soak,
)
from tests.benchmarks.machine import Disturbance, describe

Figures = dict[str, float]
MEASURES: dict[str, Callable[[], Figures]] = {
    "drain": drain.measure,
    "latency": idle.latency,
    "bulk": drain.bulk_enqueue,
    "post": post.measure,
    "gateway": gateway.measure,
    "rpc": rpc.measure,
    "children": children.measure,
    "fanout": fanout.measure,
    "growth": growth.measure,
    "idle": idle.cpu,
    "memory": idle.memory,
    "history": history.measure,
    "scale": scale.grid,
    "fleet-idle": scale.idle,
    "fleet": fleet.measure,
    "soak": soak.measure,  # takes minutes: only when it is asked for
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    usual = ",".join(name for name in MEASURES if name != "soak")
    parser.add_argument("--only", default=usual, help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--install-peers", action="store_true")
    parser.add_argument("--against", type=Path, help="another checkout, whose drain is measured in turn with ours")
    given = parser.parse_args()
    measures = dict(MEASURES)
    if given.against:
        measures["against"] = partial(drain.against, given.against.resolve())
        given.only = "against" if given.only == usual else given.only
    names = given.only.split(",")
    if unknown := [name for name in names if name not in measures]:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    if given.install_peers:
        peers.install()
    rounds: dict[str, list[Figures]] = {name: [] for name in names}
    noise: list[float] = []
    for number in range(1, given.rounds + 1):
        for name in names:
            print(f"round {number} of {given.rounds}: {name} …", file=sys.stderr, flush=True)
            with Disturbance() as disturbance:
                rounds[name].append(measures[name]())
            noise.append(disturbance.stolen)
    _print(rounds, noise)
    return 0


def _print(rounds: dict[str, list[Figures]], noise: list[float]) -> None:
    console = Console(width=110)
    console.print(describe(), f"Cores taken by the host, per measure: {_spread(noise)}.")
    table = Table("measure", "figure", "min", "median", "max", box=None, header_style="bold")
    for name, figures in rounds.items():
        for key in dict.fromkeys(key for one in figures for key in one):
            values = [one[key] for one in figures if key in one]
            low, middle, high = min(values), statistics.median(values), max(values)
            table.add_row(name, key, *(_show(value) for value in (low, middle, high)))
        table.add_section()
    console.print(table)
    if not peers.installed():
        console.print("Peers are not installed: make bench ARGS='--install-peers'")


def _spread(values: list[float]) -> str:
    return " / ".join(_show(value) for value in (min(values), statistics.median(values), max(values)))


def _show(value: Any) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
