"""The jobs, and what was promised for each."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from runtime.client import Lanework
from runtime.errors import FunctionUnknown, StatusConflict, StoreError
from runtime.jobs.job import Job
from runtime.jobs.request import JobRequest
from runtime.settings import Settings

_AT_ONCE = 100
_DEADLINE = 120.0
_STARTED = {"parent": 4, "many": 600}  # how many jobs each starts


@dataclass
class Accepted:
    """A job that was answered for, and what its caller asked of it."""

    kind: str
    job: Job
    fails: int = 0
    cancelled: bool = False  # a cancel was answered for


class Load:
    """`jobs` requests, each under an idempotency key and repeated until it is answered."""

    def __init__(self, settings: Settings, dice: random.Random, jobs: int) -> None:
        self.lanework = Lanework(settings)
        self._dice = dice
        self._jobs = jobs
        self.accepted: dict[str, Accepted] = {}
        self.records: dict[str, Job] = {}
        self.repeated = 0

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.lanework.close()

    async def deployed(self) -> None:
        """Until the workers have said what there is."""
        while True:
            try:
                for name in ("quick", "slow", "limited", "keyed", "parent", "many", "inprocess"):
                    await self.lanework.function(name)
                return
            except (FunctionUnknown, StoreError):
                await asyncio.sleep(0.1)

    async def run(self) -> None:
        numbers = iter(range(self._jobs))
        await asyncio.gather(*(self._client(numbers, random.Random(self._dice.random())) for _ in range(_AT_ONCE)))

    async def _client(self, numbers: Any, dice: random.Random) -> None:
        for number in numbers:
            kind, request, fails = _any(dice, number)
            job = await self._insist(lambda request=request: self.lanework.enqueue(**request))
            known = self.accepted.setdefault(job.id, Accepted(kind, job, fails))
            if kind == "cancelled":
                await self._cancel(known)
            await asyncio.sleep(dice.uniform(0, 0.02))

    async def _cancel(self, known: Accepted) -> None:
        try:
            await self._insist(lambda: self.lanework.cancel(known.job.id))
            known.cancelled = True
        except StatusConflict as error:  # it had settled; an earlier call without an answer may have done it
            known.cancelled = "is cancelled" in str(error)

    async def _insist(self, call: Any) -> Any:
        while True:
            try:
                return await call()
            except StoreError:
                self.repeated += 1
                await asyncio.sleep(0.2)

    async def settled(self) -> None:
        """Until every job and all that they started have settled."""
        async with asyncio.timeout(_DEADLINE):
            waiting = set(self.accepted)
            while waiting:
                for job_id in list(waiting):
                    job = await self._insist(lambda job_id=job_id: self.lanework.wait(job_id, 30))
                    if job.settled:
                        self.records[job_id] = job
                        waiting.discard(job_id)
                        waiting |= set(job.children) - self.records.keys()
                if not waiting:  # follow-ups and staged jobs are written into their parent's record later
                    waiting = await self._followed()

    async def _followed(self) -> set[str]:
        missing: set[str] = set()
        for job_id, known in self.accepted.items():
            if len(self.records[job_id].children) < _STARTED.get(known.kind, 0):
                job = await self.lanework.get(job_id)
                self.records[job_id] = job
                missing |= set(job.children) - self.records.keys() or {job_id}
        return missing


def _any(dice: random.Random, number: int) -> tuple[str, dict[str, Any], int]:
    kind = dice.choices(
        [
            "plain",
            "slow",
            "retrying",
            "scheduled",
            "cancelled",
            "unique",
            "limited",
            "keyed",
            "parent",
            "then",
            "hopeless",
            "process",
            "crashing",
            "many",
        ],
        [40, 10, 8, 8, 6, 6, 4, 8, 3, 4, 1, 6, 2, 0.04],
    )[0]
    key = {"key": f"job-{number}", "priority": dice.choice(["low", "normal", "high"])}
    if kind == "slow":
        return kind, {"type": "slow", "payload": {"ms": dice.randrange(200)}, **key}, 0
    if kind == "retrying":
        fails = dice.randrange(1, 4)
        return kind, {"type": "quick", "payload": {"fail": fails}, **key}, fails
    if kind in ("process", "crashing"):
        fails = 0 if kind == "process" else dice.randrange(1, 4)
        return kind, {"type": "inprocess", "payload": {"ms": dice.randrange(20), "fail": fails}, **key}, fails
    if kind == "scheduled":
        return kind, {"type": "quick", "delay": dice.uniform(0, 3), **key}, 0
    if kind == "cancelled":
        later = {"delay": 5.0} if dice.random() < 0.3 else {}
        return kind, {"type": dice.choice(["slow", "inprocess"]), "payload": {"ms": 100}, **later, **key}, 0
    if kind == "unique":
        return kind, {"type": "slow", "payload": {"ms": 20}, "unique": str(dice.randrange(5)), **key}, 0
    if kind == "keyed":
        return kind, {"type": "keyed", "payload": {"customer": dice.randrange(8)}, **key}, 0
    if kind == "then":
        return kind, {"type": "quick", "then": [JobRequest("quick", {"n": 5})], **key}, 0
    if kind == "hopeless":
        return kind, {"type": "quick", "payload": {"fail": 9}, **key}, 9
    return kind, {"type": kind if kind in ("limited", "parent", "many") else "quick", **key}, 0
