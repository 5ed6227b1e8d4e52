"""The Python client: enqueue, look, wait. The gateway stands on it too.

async with Lanework() as lanework:
    job = await lanework.enqueue("math", {"a": 5, "b": 3})
    print((await lanework.wait(job.id, timeout=10)).result)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from runtime import codec, metrics, settings
from runtime.contracts import Contract, Contracts
from runtime.errors import PayloadInvalid, StoreUnavailable
from runtime.job import Job
from runtime.settings import Settings
from runtime.store.batch import GroupCommit
from runtime.store.connect import check_server, connect
from runtime.store.events import Waiters
from runtime.store.jobs import Jobs, NewJob, Page
from runtime.store.keys import Keys
from runtime.store.registry import Registry, WorkerInfo
from runtime.store.stats import Stats

WITHIN = 1.9  # seconds until an enqueue that got no answer is an error
BULK = 1000
BULK_BYTES = 4 << 20
MOST_ATTEMPTS = 1000
_TURN = 100  # jobs made ready in one turn of the loop

Answer = TypeVar("Answer")


class _Entry(NamedTuple):
    job: NewJob
    stored: asyncio.Future[int]


class Lanework:
    """A connection to Lanework. Jobs enqueued at once by several tasks share round trips."""

    def __init__(self, given: Settings | None = None) -> None:
        self.settings = given or settings.load()
        self._client = connect(self.settings)
        self._blocking = connect(self.settings, timeout=None)
        self._jobs = Jobs(self._client, self.settings)
        self.registry = Registry(self._client, self.settings)
        self.stats = Stats(self._client, self.settings)
        self.contracts = Contracts(self.registry)
        self._waiters = Waiters(self._jobs, self._blocking, Keys(self.settings.prefix))
        self._commit: GroupCommit[_Entry] = GroupCommit(self._store, weigh=lambda entry: len(entry.job.payload))

    async def __aenter__(self) -> Lanework:
        """Raises StoreError where the server cannot serve."""
        try:
            await self.check()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def check(self) -> None:
        """Raises StoreUnavailable, StoreUnsupported or StoreMismatch where jobs could not be served."""
        await check_server(self._client, self.settings)

    async def ping(self) -> None:
        """Raises StoreUnavailable unless Redis answers."""
        await within(self._jobs.ping())

    async def close(self) -> None:
        await self._waiters.close()
        await self._client.aclose()
        await self._blocking.aclose()

    async def enqueue(
        self,
        type: str,
        payload: Any = None,
        *,
        priority: str | int | None = None,
        max_attempts: int | None = None,
    ) -> Job:
        """Stores one job. `priority`: a lane's name or number; None: the function's own lane.

        Raises FunctionUnknown, PayloadInvalid, LaneUnknown, StoreUnavailable. After the last, the
        job may have been stored nevertheless.
        """
        contract = self.contracts.known(type)
        if contract is None:
            contract = await within(self.contracts.get(type))
        contract.check(payload)
        job = self._new(contract, payload, priority, max_attempts)
        entry = _Entry(job, asyncio.get_running_loop().create_future())
        self._commit.add(entry)
        created = await entry.stored
        number = self.settings.lanes.index(job.lane)
        return Job(job.id, type, job.lane, "pending", payload, created, job.max_attempts, number)

    async def enqueue_many(
        self,
        type: str,
        payloads: Sequence[Any],
        *,
        priority: str | int | None = None,
        max_attempts: int | None = None,
    ) -> list[str]:
        """Stores jobs by the thousand; returns their ids in order. Payloads are validated before any is stored."""
        contract = await self.contracts.get(type)
        for payload in payloads:
            contract.check(payload)
        ids: list[str] = []
        batch: list[NewJob] = []
        size = 0
        stored: asyncio.Task[int] | None = None
        try:
            for number, payload in enumerate(payloads, 1):
                job = self._new(contract, payload, priority, max_attempts)
                ids.append(job.id)
                batch.append(job)
                size += len(job.payload)
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                if len(batch) == BULK or size >= BULK_BYTES or number == len(payloads):
                    # one batch is stored while the next is made ready; never two, which could change their order
                    if stored is not None:
                        await stored
                    stored = asyncio.create_task(self._enqueue(batch))
                    batch, size = [], 0
        finally:
            if stored is not None:
                await stored
        return ids

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        return await within(self._jobs.get(job_id))

    async def wait(self, job_id: str, timeout: float) -> Job:
        """The job once it has settled, or as it is after `timeout` seconds. Raises JobNotFound."""
        return await self._waiters.wait(job_id, timeout)

    async def page(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Page:
        """Jobs from newest to oldest. Raises ValueError for a cursor that was not given here."""
        return await within(self._jobs.page(limit=limit, cursor=cursor, type=type, status=status))

    async def workers(self) -> Sequence[WorkerInfo]:
        """Those alive: each says so every 3 s, and is gone after 15 s of silence."""
        return await within(self.registry.workers())

    def _new(
        self, contract: Contract, payload: Any, priority: str | int | None, max_attempts: int | None
    ) -> NewJob:
        deployed = contract.deployed
        lane = deployed.lane if priority is None else self.settings.lane(priority)
        most = deployed.max_attempts if max_attempts is None else max_attempts
        if type(most) is not int or not 1 <= most <= MOST_ATTEMPTS:
            raise PayloadInvalid(deployed.name, [{"field": "/max_attempts", "message": f"is 1 to {MOST_ATTEMPTS}"}])
        try:
            packed = codec.pack_shown(payload)
        except (TypeError, ValueError) as error:
            raise PayloadInvalid(deployed.name, [{"field": "", "message": f"cannot be stored: {error}"}]) from None
        return NewJob(self._jobs.new_id(), deployed.name, lane, packed, most)

    async def _enqueue(self, batch: list[NewJob]) -> int:
        created = await within(self._jobs.enqueue(batch))
        for (function, lane), count in Counter((job.type, job.lane) for job in batch).items():
            metrics.ENQUEUED.labels(function, lane).inc(count)
        return created

    async def _store(self, entries: list[_Entry]) -> None:
        try:
            created = await self._enqueue([entry.job for entry in entries])
        except Exception as error:
            # those that came meanwhile would only wait for the same answer
            for entry in [*entries, *self._commit.take_waiting()]:
                if not entry.stored.done():
                    entry.stored.set_exception(error)
            return
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_result(created)


async def within(call: Awaitable[Answer]) -> Answer:
    """The call's answer. Raises StoreUnavailable after 1.9 s without one."""
    try:
        async with asyncio.timeout(WITHIN):
            return await call
    except TimeoutError:
        raise StoreUnavailable(f"Redis did not answer within {WITHIN} s") from None
