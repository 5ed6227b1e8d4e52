"""A function's past in an hour or a day."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Span = Literal["hour", "day"]
SPANS: tuple[Span, ...] = get_args(Span)
SPAN_MS = {"hour": 3_600_000, "day": 86_400_000}
PERCENTS = (50, 95, 99)


@dataclass(slots=True)
class Bucket:
    """`since`: when the hour or day begins, in Unix ms; days are of UTC. `counts`: of settled jobs, by status.
    `wait`, `run`: the 50th, 95th and 99th percentile (nearest rank) in ms of how long first attempts waited for
    their start, and of how long attempts ran; empty where there was none."""

    function: str
    since: int
    counts: dict[str, int] = field(default_factory=dict)
    wait: dict[int, int] = field(default_factory=dict)
    run: dict[int, int] = field(default_factory=dict)
