"""The account: what was promised, what the records say, and what the handlers wrote down for themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.jobs.job import Job
from runtime.store.connect import opened
from tests.chaos.load import Accepted, Load
from tests.chaos.stage import Stage

# ends that let a job run again without its having failed
_AGAIN = ("lost", "released")


@dataclass
class Ran:
    """One attempt, as its handler wrote it down."""

    started: int = 0
    ended: int | None = None
    outcome: str = ""
    starts: int = 0
    customer: str = ""


class Account:
    def __init__(self, load: Load, stage: Stage) -> None:
        self._load = load
        self._stage = stage
        self._ran = _read(stage)
        self.again = 0

    def told(self) -> str:
        return f"{self._load.repeated} requests repeated, {self.again} attempts lost or released"

    async def check(self) -> list[str]:
        """What is wrong."""
        wrong = [line for job in self._load.records.values() for line in self._job(job)]
        wrong += [line for known in self._load.accepted.values() for line in self._promise(known)]
        wrong += self._overlaps("limited", 2, lambda ran: "")
        wrong += self._overlaps("keyed", 1, lambda ran: ran.customer)
        return wrong + await self._left_behind()

    def _job(self, job: Job) -> Iterator[str]:
        """Each job settled once, and each of its attempts is known to its record."""
        if not job.settled:
            yield f"{job.id} is {job.status}"
        outcomes = [attempt["outcome"] for attempt in job.attempts]
        self.again += sum(outcome in _AGAIN for outcome in outcomes)
        if sum(outcome not in (*_AGAIN, "retry") for outcome in outcomes) > 1:
            yield f"{job.id} settled more than once: {outcomes}"
        if [attempt["attempt"] for attempt in job.attempts] != list(range(1, len(job.attempts) + 1)):
            yield f"{job.id} has not all its attempts: {outcomes}"
        ran = self._ran.get(job.id, {})
        for number, one in ran.items():
            if one.starts > 1:
                yield f"{job.id} attempt {number} was run {one.starts} times"
            if number > len(outcomes):
                yield f"{job.id} attempt {number} ran, and its record does not know of it"
        ended = [number for number, one in ran.items() if one.outcome == "completed"]
        unexplained = [number for number in ended if number <= len(outcomes) and outcomes[number - 1] not in _AGAIN]
        if job.status == "completed" and len(unexplained) != 1:
            yield f"{job.id} completed, and its handler ended in attempts {ended} of {outcomes}"

    def _promise(self, known: Accepted) -> Iterator[str]:
        job = self._load.records[known.job.id]
        expected = "failed" if known.kind == "hopeless" else "completed"
        if known.kind == "cancelled":
            if (job.status == "cancelled") != known.cancelled:
                yield f"{job.id} is {job.status}, cancelled: {known.cancelled}"
        elif job.status != expected:
            yield f"{job.id} ({known.kind}) is {job.status}: {job.error}"
        retries = [a["outcome"] for a in job.attempts].count("retry")
        if known.kind in ("retrying", "crashing") and retries != known.fails:
            yield f"{job.id} was to fail {known.fails} times and failed {retries} times"
        if known.kind == "scheduled" and known.job.run_at and (job.started_at or 0) < known.job.run_at:
            yield f"{job.id} started before its time"
        yield from self._family(known, job)

    def _family(self, known: Accepted, job: Job) -> Iterator[str]:
        children = [self._load.records[child] for child in job.children]
        if any(child.parent != job.id for child in children):
            yield f"{job.id} has children of others"
        if known.kind == "then" and len(children) != 1:
            yield f"{job.id} started {len(children)} jobs, not 1"
        if known.kind == "many" and sorted(job.children) != sorted(job.result):
            yield f"{job.id} started {len(children)} jobs, not {len(job.result)}"
        if known.kind == "parent":
            if [child.id for child in children] != job.result:
                yield f"{job.id} started {job.children}, not {job.result}"
            *parts, last = children
            if any((part.finished_at or 0) > last.created_at for part in parts):
                yield f"{job.id}: the follow-up started before all children had settled"

    def _overlaps(self, type: str, most: int, group: object) -> Iterator[str]:
        """How many ran at once; attempts that were lost ran on where nobody counted them."""
        moments: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for job in self._load.records.values():
            if job.type != type:
                continue
            for number, ran in self._ran.get(job.id, {}).items():
                if job.attempts[number - 1]["outcome"] == "completed" and ran.ended is not None:
                    key = group(ran)  # type: ignore[operator]
                    moments[key] += [(ran.started, 1), (ran.ended, -1)]
        for key, times in moments.items():
            inside = 0
            for at, change in sorted(times):
                inside += change
                if inside > most:
                    yield f"{inside} of {type} {key} ran at once at {at}, {most} may"

    async def _left_behind(self) -> list[str]:
        """Nothing waits, runs or is remembered of jobs that have settled, and there are no others."""
        async with opened(self._load.lanework.settings) as redis:
            kinds: Counter[str] = Counter()
            wrong = []
            async for key in redis.scan_iter("lw:{*}:*", count=1000):
                kind = key.decode().split(":")[2]
                kinds[kind] += 1
                if kind == "q" and await redis.xlen(key):
                    wrong.append(f"{key!r} holds {await redis.xlen(key)} entries")
                if kind in ("due", "expiry", "busy", "parked", "unique", "join", "ready", "staged", "starting"):
                    wrong.append(f"{key!r} is left behind")
        if kinds["job"] != len(self._load.records):
            wrong.append(f"there are {kinds['job']} records of {len(self._load.records)} jobs")
        return wrong


def _read(stage: Stage) -> dict[str, dict[int, Ran]]:
    """The ledger, by job and attempt."""
    jobs: dict[str, dict[int, Ran]] = defaultdict(lambda: defaultdict(Ran))
    for line in stage.ledger.read_text().splitlines():
        what, at, job_id, attempt, _pid, *more = line.split()
        ran = jobs[job_id][int(attempt)]
        told = dict(part.split("=") for part in more)
        if what == "start":
            ran.started, ran.starts, ran.customer = int(at), ran.starts + 1, told.get("customer", "")
        else:
            ran.ended, ran.outcome = int(at), told["outcome"]
    return jobs
