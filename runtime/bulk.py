"""Enqueueing by the thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from runtime.contracts import Contracts
from runtime.errors import KeyReused, LaneworkError, QueueFull
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
        storing: asyncio.Task[None] | None = None
        begun = done = 0  # how many are being stored, and how many are
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
                    if storing is not None:
                        await storing
                    done, begun = begun, number
                    storing = asyncio.create_task(self._part(batch, ids))
                    batch, size = [], 0
            if storing is not None:
                await storing
        except LaneworkError as error:
            if storing is not None:
                await asyncio.wait([storing])
                done = done if storing.exception() else begun
            error.stored = error.stored or ids[:done]
            raise
        finally:
            if storing is not None:
                await asyncio.wait([storing])
        return ids

    async def _part(self, batch: list[NewJob], ids: list[str]) -> None:
        """Stores a part of many, and puts the ids of those found in place of theirs that were not stored."""
        _, refused = await self._store(batch)
        for position, job_id in enumerate(ids) if refused else ():
            refusal = refused.get(job_id)
            if refusal is None:
                continue
            if refusal.verdict in ("full", "differs"):
                error: LaneworkError = KeyReused(refusal.other)
                if refusal.verdict == "full":
                    error = QueueFull(batch[0].type, refusal.waiting)
                tried = ids[: ids.index(batch[-1].id) + 1]
                error.stored = [one for one in tried if one not in refused]
                raise error
            ids[position] = refusal.other
