"""Enqueueing what schedules ask for. Every worker does it for its functions; the store lets each tick pass once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from runtime import log, metrics
from runtime.client.prepare import Preparer
from runtime.errors import FunctionUnknown, JobInvalid, LaneUnknown, PayloadInvalid
from runtime.handlers.schedule import Schedule
from runtime.jobs.request import JobRequest
from runtime.settings import Settings
from runtime.store.schedules import Schedules, Ticked

_MAX_SLEEP = 30.0  # seconds between two looks: clocks may be set
_AGAIN = 1000  # ms until a function that was not published is looked for again


class Ticker:
    """The schedules of a worker's functions; its `step` is for `keep_going`."""

    def __init__(
        self,
        schedules: Schedules,
        preparer: Preparer,
        settings: Settings,
    ) -> None:
        self._schedules = schedules
        self._preparer = preparer
        self._grace = int(settings.cron_grace * 1000)
        self._by_function: Mapping[str, tuple[Schedule, ...]] = {}
        self._changed = asyncio.Event()
        self._log = log.get("ticker")

    def follow(self, by_function: Mapping[str, tuple[Schedule, ...]]) -> None:
        """Replaces the schedules."""
        self._by_function = by_function
        self._changed.set()

    async def step(self) -> float:
        """Handles every tick that is due, then waits for the next one or for new schedules."""
        self._changed.clear()
        wait = await self._handle_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), wait)
        return 0.0

    async def _handle_all(self) -> float:
        """Handles the due ticks of all schedules; returns seconds until the next look."""
        wait = _MAX_SLEEP
        for function, schedules in self._by_function.items():
            now = await self._schedules.now()
            for schedule, past in zip(
                schedules, await self._schedules.past(function, [s.key for s in schedules]), strict=True
            ):
                next_tick = await self._handle(function, schedule, past, now)
                wait = min(wait, (next_tick - now) / 1000)
        return max(0.001, wait)

    async def _handle(self, function: str, schedule: Schedule, past: Ticked | None, now: int) -> int:
        """Enqueues the last tick up to now if it is in time, and skips the others; returns when to look again."""
        if past is None:  # a new schedule has missed nothing
            await self._schedules.tick(function, schedule.key, now, 0, None)
            return schedule.next(now)
        missed = schedule.missed(past.tick, now)
        if missed is None:
            return schedule.next(max(past.tick, now))
        tick, skipped = missed
        in_time = now - tick <= self._grace
        request = JobRequest(function, schedule.payload)
        try:
            job = await self._preparer.prepare(request, tick=tick) if in_time else None
        except FunctionUnknown:
            self._log.warning("cron.unpublished", function=function, cron=schedule.cron)
            return now + _AGAIN  # the server has lost its data; the next heartbeat publishes the function again
        except (PayloadInvalid, JobInvalid, LaneUnknown) as error:
            self._log.error("cron.unusable", function=function, cron=schedule.cron, error=str(error))
            job = None
        skipped += job is None
        if await self._schedules.tick(function, schedule.key, tick, skipped, job) and skipped:
            metrics.SKIPPED.labels(function).inc(skipped)
            self._log.warning("cron.skipped", function=function, cron=schedule.cron, ticks=skipped)
        return schedule.next(now)
