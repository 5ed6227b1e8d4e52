"""Figures, as messages."""

from __future__ import annotations

from runtime.client.counts import Figures, FunctionStats, Rate
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb


def function_message(of: FunctionStats) -> pb.FunctionStats:
    lanes = {lane: _figures(figures) for lane, figures in of.lanes.items()}
    return pb.FunctionStats(function=of.function, whole=_figures(of.whole), lanes=lanes, dead=of.whole.dead or 0)


def _figures(figures: Figures) -> pb.Figures:
    rates = {what: _rate(rate) for what, rate in figures.rates.items()}
    return pb.Figures(
        waiting=figures.waiting,
        running=figures.running,
        scheduled=figures.scheduled,
        oldest_ms=None if figures.oldest is None else int(figures.oldest * 1000),
        **rates,
    )


def _rate(rate: Rate) -> pb.Rate:
    return pb.Rate(last_minute=rate.of_1, last_5_minutes=rate.of_5, last_60_minutes=rate.of_60)
