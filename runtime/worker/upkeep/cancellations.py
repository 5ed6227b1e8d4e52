"""Hearing what people ask of attempts that run here: to be cancelled."""

from __future__ import annotations

from collections.abc import Callable

from runtime.store.connect import Redis
from runtime.store.lanes import Lanes

_LISTEN = 10.0


class Cancellations:
    """One shard's orders; its `step` is for `keep_going`. One that is lost is told again with the leases."""

    def __init__(self, lanes: Lanes, blocking: Redis, cancel: Callable[[str, int], None]) -> None:
        self._lanes = lanes
        self._blocking = blocking
        self._cancel = cancel

    async def step(self) -> float:
        for job_id, attempt in await self._lanes.orders(self._blocking, _LISTEN):
            self._cancel(job_id, attempt)
        return 0.0
