"""Recovering what lost workers held or had begun to start, and failing what expired.

Whichever worker holds the sweeper's lock does it. The others stand by, each for longer in a large fleet: the server
need not be asked more often because there are more of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from runtime import log, metrics
from runtime.errors import StoreError
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Swept
from runtime.store.rows import Scan

_CHUNK = 200
_STANDING_BY = 4  # workers that together ask as often as one that sweeps
_PARTS = 20  # of what one job has staged that one sweep starts
_NEXT = {"retry": "runs again", "poison": "failed as poison", "cancelled": "cancelled, as was asked"}


class Sweeper:
    """One shard's sweeper; its `step` is for `keep_going`."""

    def __init__(self, store: AttemptStore, settings: Settings, fleet: Callable[[], int]) -> None:
        """`fleet`: how many workers there are."""
        self._store = store
        self._fleet = fleet
        self._every = min(0.5, settings.lease / 8)
        self._cursors: dict[tuple[str, str], str] = {}
        self._patience = settings.lease / 2
        self._from = 0.0
        self._log = log.get("sweeper")

    async def step(self) -> float:
        try:
            swept = await self._sweep_all()
        except StoreError:
            # leases could not be renewed meanwhile: when Redis is back, workers that live do so first
            self._from = time.monotonic() + self._patience
            raise
        pause = self._every if swept else min(self._patience, self._every * max(1, self._fleet() / _STANDING_BY))
        return pause * random.uniform(0.8, 1.2)

    async def _sweep_all(self) -> bool:
        """Whether this worker is the one that sweeps."""
        if time.monotonic() < self._from:
            return True
        if not await self._sweep([]):
            return False
        names = await self._store.names()
        for start in range(0, len(names), _CHUNK):
            if not await self._sweep(names[start : start + _CHUNK]):
                return False
        return True

    async def _sweep(self, names: list[tuple[str, str]]) -> bool:
        chunk = [Scan(function, lane, self._cursors.get((function, lane), "0-0")) for function, lane in names]
        sweep = await self._store.reclaim(chunk, int(self._every * 2000))
        if sweep is None:
            return False
        self._cursors.update(zip(names, sweep.cursors, strict=True))
        for job in sweep.swept:
            self._tell(job)
        for job_id in sweep.starting:  # their workers may be at it, or be gone
            await self._start(job_id)
        return True

    async def _start(self, job_id: str) -> None:
        """Some of what a job has staged. One that cannot be started must not keep others from being recovered."""
        try:
            for _ in range(_PARTS):
                if not await self._store.start(job_id):
                    break
        except StoreError as error:
            self._log.warning("start.failed", job=job_id, code=error.code, error=str(error))

    def _tell(self, job: Swept) -> None:
        if job.verdict == "expired":
            metrics.EXPIRED.labels(job.type, job.lane).inc()
            self._log.warning("job.expired", job=job.id, function=job.type)
            return
        metrics.REDELIVERED.labels(job.type, job.lane).inc()
        self._log.warning(
            "worker.lost",
            worker=job.worker,
            job=job.id,
            function=job.type,
            attempt=job.attempt,
            next=_NEXT[job.verdict],
        )
