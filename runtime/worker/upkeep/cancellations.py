"""Hearing what people ask of attempts that run here: to be cancelled."""

from __future__ import annotations

from collections.abc import Callable

from runtime.store.attempt_store import AttemptStore
from runtime.store.connect import Redis

_LISTEN = 10.0


class Cancellations:
    """One shard's orders; its `step` is for `keep_going`. A lost order is repeated with the leases."""

    def __init__(self, store: AttemptStore, blocking: Redis, cancel: Callable[[str, int], None]) -> None:
        self._store = store
        self._blocking = blocking
        self._cancel = cancel

    async def step(self) -> float:
        for job_id, attempt in await self._store.orders(self._blocking, _LISTEN):
            self._cancel(job_id, attempt)
        return 0.0
