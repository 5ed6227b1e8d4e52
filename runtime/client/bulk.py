"""Enqueueing by the thousand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import zip_longest
from typing import Any, NamedTuple

from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.errors import JobInvalid, KeyReused, LaneworkError, QueueFull
from runtime.jobs.request import JobRequest
from runtime.store.jobs import Refusal
from runtime.store.rows import NewJob

_BATCH = 1000
_BATCH_BYTES = 4 << 20
_TURN = 100  # jobs made ready in one turn of the loop
_MISSING = object()

Store = Callable[[list[NewJob]], Awaitable[tuple[int, dict[str, Refusal]]]]


class Bulk:
    """Validates, makes ready and stores many jobs of one function, in their order."""

    def __init__(self, contracts: Contracts, preparer: Preparer, store: Store) -> None:
        self._contracts = contracts
        self._preparer = preparer
        self._store = store

    async def enqueue(
        self, type: str, payloads: Iterable[Any], options: dict[str, Any], keys: Iterable[str] | None = None
    ) -> list[str]:
        """See `Lanework.enqueue_many`."""
        check_payloads(payloads)
        template = JobRequest(type, **options)
        template.check()
        options["then"] = template.then  # as it read them: a generator gives them once
        contract = await self._contracts.get(type)
        for number, payload in enumerate(payloads if isinstance(payloads, Sequence) else (), 1):
            contract.check(payload)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        parts = _Batches(self._store)
        try:
            for number, (payload, key) in enumerate(with_keys(payloads, keys), 1):
                request = JobRequest(type, payload, **options)
                if key is not None:
                    request.key = key
                job = (
                    await self._preparer.prepare(request)
                    if request.then or request.callback or contract.is_followed
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


def check_payloads(payloads: Any) -> None:
    """Raises JobInvalid for what is the payload of one job."""
    if isinstance(payloads, (str, bytes, Mapping)):
        raise _wrong("payloads", f"are those of many jobs, such as a list; {payloads.__class__.__name__} is one")


def with_keys(payloads: Iterable[Any], keys: Iterable[str] | None) -> Iterator[tuple[Any, str | None]]:
    """Raises JobInvalid for what is no key, and where there are not as many keys as payloads."""
    if keys is None:
        yield from ((payload, None) for payload in payloads)
        return
    if isinstance(keys, (str, bytes, Mapping, Set)) or not isinstance(keys, Iterable):
        raise _wrong("keys", f"are one for each payload, such as a list; not {keys.__class__.__name__}")
    for number, (payload, key) in enumerate(zip_longest(payloads, keys, fillvalue=_MISSING)):
        if payload is _MISSING or key is _MISSING:
            raise _wrong("keys", "are as many as payloads: one for each")
        if not isinstance(key, str):
            raise _wrong(f"keys/{number}", f"is text, not {key.__class__.__name__}")
        yield payload, key


def _wrong(field: str, problem: str) -> JobInvalid:
    return JobInvalid(f"{field} {problem}", [{"field": f"/{field}", "message": problem}])


class Stored(NamedTuple):
    """A job of a batch; `new` is False for one that its idempotency or unique key found."""

    id: str
    new: bool


async def submit_many(
    requests: Sequence[JobRequest], preparer: Preparer, store: Store
) -> list[Stored | LaneworkError]:
    """See `Lanework.submit_many`."""
    results: list[Stored | LaneworkError] = []
    batch: list[tuple[int, NewJob]] = []
    for number, request in enumerate(requests):
        try:
            job = preparer.prepare_plain(request) or await preparer.prepare(request)
            batch.append((number, job))
            results.append(Stored(job.id, new=True))
        except LaneworkError as error:
            results.append(error)
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)
    try:
        _, refused = await store([job for _, job in batch]) if batch else (0, {})
    except LaneworkError as error:
        for number, _ in batch:
            results[number] = error
        return results
    for number, job in batch if refused else ():
        if refusal := refused.get(job.id):
            results[number] = submitted(job, refusal)
    return results


def submitted(job: NewJob, refusal: Refusal | None) -> Stored | LaneworkError:
    """What came of a job of a batch."""
    if refusal is None:
        return Stored(job.id, new=True)
    if refusal.verdict == "full":
        return QueueFull(job.type, refusal.waiting)
    return KeyReused(refusal.other) if refusal.verdict == "differs" else Stored(refusal.other, new=False)


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
        self._size += len(job.payload) + len(job.extras or b"")
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
        """Replaces refused jobs' ids with the existing jobs' ids."""
        _, refused = await self._store(part)
        for position, job_id in enumerate(self.ids) if refused else ():
            refusal = refused.get(job_id)
            if refusal is None:
                continue
            found = submitted(part[0], refusal)
            if isinstance(found, LaneworkError):
                tried = self.ids[: self.ids.index(part[-1].id) + 1]
                found.stored = [job_id for job_id in tried if job_id not in refused]
                raise found
            self.ids[position] = found.id
