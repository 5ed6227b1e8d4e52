"""Enqueueing by the thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from runtime.contracts import Contracts
from runtime.errors import KeyReused, QueueFull
from runtime.intake import Intake
from runtime.request import JobRequest, NewJob
from runtime.store.jobs import Refusal

_BATCH = 1000
_BATCH_BYTES = 4 << 20
_TURN = 100  # jobs made ready in one turn of the loop

Store = Callable[[list[NewJob]], Awaitable[tuple[int, dict[str, Refusal]]]]


class Bulk:
    """Validates, makes ready and stores many jobs of one function, in their order."""

    def __init__(self, contracts: Contracts, intake: Intake, store: Store) -> None:
        self._contracts = contracts
        self._intake = intake
        self._store = store

    async def enqueue(self, type: str, payloads: Sequence[Any], options: dict[str, Any]) -> list[str]:
        """See `Lanework.enqueue_many`."""
        contract = await self._contracts.get(type)
        for payload in payloads:
            contract.check(payload)
        ids: list[str] = []
        batch: list[NewJob] = []
        size = 0
        stored: asyncio.Task[None] | None = None
        try:
            for number, payload in enumerate(payloads, 1):
                request = JobRequest(type, payload, **options)
                job = await self._intake.prepare(request) if request.then else self._intake.ready(request, contract)
                ids.append(job.id)
                batch.append(job)
                size += len(job.payload)
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                if len(batch) == _BATCH or size >= _BATCH_BYTES or number == len(payloads):
                    # one batch is stored while the next is made ready; never two, which could change their order
                    if stored is not None:
                        await stored
                    stored = asyncio.create_task(self._part(batch, ids))
                    batch, size = [], 0
        finally:
            if stored is not None:
                await stored
        return ids

    async def _part(self, batch: list[NewJob], ids: list[str]) -> None:
        """Stores a part of many, and puts the ids of those found in place of theirs that were not stored."""
        _, refused = await self._store(batch)
        for position, job_id in enumerate(ids) if refused else ():
            refusal = refused.get(job_id)
            if refusal is None:
                continue
            if refusal.verdict == "full":
                tried = ids[: ids.index(batch[-1].id) + 1]
                raise QueueFull(batch[0].type, refusal.waiting, [one for one in tried if one not in refused])
            if refusal.verdict == "differs":
                raise KeyReused(refusal.other)
            ids[position] = refusal.other
