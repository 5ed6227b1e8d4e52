"""Enqueueing by the thousand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.errors import JobInvalid, KeyReused, LaneworkError, QueueFull
from runtime.jobs.request import JobRequest
from runtime.store.jobs import Refusal
from runtime.store.rows import NewJob

_BATCH = 1000
_BATCH_BYTES = 4 << 20
_TURN = 100  # jobs made ready in one turn of the loop

Store = Callable[[list[NewJob]], Awaitable[tuple[int, dict[str, Refusal]]]]


class Bulk:
    """Validates, makes ready and stores many jobs of one function, in their order."""

    def __init__(self, contracts: Contracts, preparer: Preparer, store: Store) -> None:
        self._contracts = contracts
        self._preparer = preparer
        self._store = store

    async def enqueue(self, type: str, payloads: Iterable[Any], options: dict[str, Any]) -> list[str]:
        """See `Lanework.enqueue_many`."""
        if isinstance(payloads, (str, bytes, Mapping)):
            problem = f"are the payloads of many jobs, such as a list; {payloads.__class__.__name__} is one"
            raise JobInvalid(f"payloads {problem}", [{"field": "/payloads", "message": problem}])
        JobRequest(type, **options).check()
        contract = await self._contracts.get(type)
        for number, payload in enumerate(payloads if isinstance(payloads, Sequence) else (), 1):
            contract.check(payload)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        parts = _Batches(self._store)
        try:
            for number, payload in enumerate(payloads, 1):
                request = JobRequest(type, payload, **options)
                job = (
                    await self._preparer.prepare(request)
                    if request.then
                    else self._preparer.ready(request, contract)
                )
                if parts.add(job):
                    await parts.store()
                if number % _TURN == 0:
                    await asyncio.sleep(0)
            await parts.store()
            await parts.stored()
        except LaneworkError as error:
            with contextlib.suppress(LaneworkError):
                await parts.stored()
            error.stored = error.stored or parts.ids[: parts.done]
            raise
        return parts.ids


class _Batches:
    """Jobs as they are made ready, and stored part by part: one part is stored while the next is made ready,
    never two, which could change their order."""

    def __init__(self, store: Store) -> None:
        self.ids: list[str] = []
        self.done = 0  # how many are stored
        self._begun = 0  # how many are, or are being stored
        self._store = store
        self._part: list[NewJob] = []
        self._size = 0
        self._storing: asyncio.Task[None] | None = None

    def add(self, job: NewJob) -> bool:
        """Whether there are enough for a part."""
        self.ids.append(job.id)
        self._part.append(job)
        self._size += len(job.payload)
        return len(self._part) == _BATCH or self._size >= _BATCH_BYTES

    async def store(self) -> None:
        """Begins to store what has gathered, once the part before it is stored. Raises what that raised."""
        await self.stored()
        if self._part:
            part, self._part, self._size = self._part, [], 0
            self._begun = len(self.ids)
            self._storing = asyncio.create_task(self._store_part(part))

    async def stored(self) -> None:
        """Returns once nothing is being stored. Raises what that raised."""
        if self._storing is not None:
            await asyncio.wait([self._storing])
            storing, self._storing = self._storing, None
            storing.result()
            self.done = self._begun

    async def _store_part(self, part: list[NewJob]) -> None:
        """Puts the ids of those found in place of theirs that were not stored."""
        _, refused = await self._store(part)
        for position, job_id in enumerate(self.ids) if refused else ():
            refusal = refused.get(job_id)
            if refusal is None:
                continue
            if refusal.verdict in ("full", "differs"):
                error: LaneworkError = KeyReused(refusal.other)
                if refusal.verdict == "full":
                    error = QueueFull(part[0].type, refusal.waiting)
                tried = self.ids[: self.ids.index(part[-1].id) + 1]
                error.stored = [job_id for job_id in tried if job_id not in refused]
                raise error
            self.ids[position] = refusal.other
