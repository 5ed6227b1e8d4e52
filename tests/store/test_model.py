"""The store against a model of it: any order of what clients, workers and sweepers do, under a clock that steps.

After each step: every job is in exactly one place, and its status is what the model says (1); only the attempt's
holder ended it (2); a settled record expires and no other does (3); a lane is as long as what waits and runs in it
(4); and what may be taken is taken, whatever else is paused, limited or lost (5).
"""

import asyncio
import itertools
import secrets
from dataclasses import dataclass

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from runtime import settings as settings_module
from runtime.errors import StatusConflict
from runtime.store import scripts
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Offer, Settlement, Taken
from runtime.store.connect import connect, disconnect
from runtime.store.dead import Dead
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.operations import Operations
from runtime.store.rows import Limit, NewJob
from runtime.store.thread_client import ThreadClient
from runtime.values import codec

LANES = ("low", "high")
LIVE = ("scheduled", "pending", "running", "cancelling")
LIMITS = {"one": Limit("one", 1, 0, 0, 1), "keyed": Limit("keyed", 1, 1, 0, 1)}
OUTCOMES = ["completed", "failed", "retry", "released"]
PAUSES = ["*", "function:free", "function:keyed", "lane:high"]
TYPES = ("free", "one", "keyed")


@dataclass
class Known:
    """A job as the model has it."""

    id: str
    type: str
    lane: str
    status: str = "pending"
    due: int = 0
    expires: int | None = None
    unique: str | None = None
    key: int = 0
    attempts: int = 0
    crashes: int = 0
    found_expired: bool = False
    holder: str | None = None

    @property
    def live(self):
        return self.status in LIVE


def _at_once(jobs):
    """How many of them one take can give: of a limited function, or key, one."""
    kinds = {(job.type, job.key if job.type == "keyed" else "") for job in jobs if job.type != "free"}
    return sum(job.type == "free" for job in jobs) + len(kinds)


class Store(RuleBasedStateMachine):
    url = ""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        prefix = f"test-{secrets.token_hex(6)}"
        given = settings_module.load({}, redis_url=self.url, prefix=prefix, lanes="low,high", crash_limit=2)
        self.client, self.sync = connect(given), redis.Redis.from_url(self.url)
        self.thread_client = ThreadClient(given)
        self.keys, self.prefix = Keys(prefix), prefix
        self.jobs = Jobs(self.client, given)
        self.operations = Operations(self.client, given)
        self.dead = Dead(self.client, given, self.jobs)
        self.workers = {name: AttemptStore(self.client, given, 0, name, LIMITS) for name in ("a", "b")}
        self.known: dict[str, Known] = {}
        self.numbers = itertools.count()  # of ids: random ones would sort differently in each run
        self.held: list[tuple[str, Taken]] = []  # every attempt ever taken, and by whom
        self.paused: set[str] = set()
        self.now = 1_800_000_000_000
        self.step_clock(0)

    def run(self, call):
        return self.loop.run_until_complete(call)

    def teardown(self):
        self.run(self._clear())
        self.loop.close()
        self.sync.close()
        self.thread_client.close()

    async def _clear(self):
        keys = [key async for key in self.client.scan_iter(f"{self.prefix}:*", count=1000)]
        if keys:
            await self.client.delete(*keys)
        await disconnect(self.client)

    # what may happen

    @rule(ms=st.sampled_from([-500, 0, 1, 400, 5000]))
    def step_clock(self, ms):
        self.now += ms
        self.sync.set(f"{self.prefix}:{{0}}:clock", self.now)

    @rule(
        type=st.sampled_from(TYPES),
        lane=st.sampled_from(LANES),
        delay=st.sampled_from([0, 0, 0, 300, 4000]),
        ttl=st.sampled_from([None, None, None, 200, 3000]),
        unique=st.sampled_from([None, None, None, "u1", "u2"]),
        key=st.integers(0, 1),
        count=st.integers(1, 3),
    )
    def enqueue(self, type, lane, delay, ttl, unique, key, count):
        for _ in range(count):
            self.enqueue_one(type, lane, delay, ttl, unique, key)

    def enqueue_one(self, type, lane, delay, ttl, unique, key):
        more = {}
        if ttl is not None:
            more["timed"] = True
        if unique is not None:
            more["unique"] = unique
        if type == "keyed":
            more["ckey"] = str(key)
        terms = ({"delay": delay} if delay else {}) | ({"ttl": ttl} if ttl is not None else {})
        job_id = f"01900000-0000-7000-8000-{next(self.numbers):012x}"
        packed = codec.pack_batch(more) if more else None
        job = NewJob(job_id, type, lane, codec.pack(None), 3, terms or None, packed)
        _, refused = self.run(self.jobs.enqueue([job]))
        twins = self._living(type, unique)
        if twins:
            assert refused[job.id].other == twins[0].id
            return
        assert not refused
        due = self.now + delay
        status, expires = "scheduled" if delay else "pending", None if ttl is None else due + ttl
        self.known[job.id] = Known(job.id, type, lane, status, due, expires, unique, key)

    @rule(worker=st.sampled_from("ab"), free=st.integers(1, 4))
    def take(self, worker, free):
        for job in self.known.values():
            if job.status == "scheduled" and job.due <= self.now:
                job.status = "pending"
            if job.status == "pending" and job.expires is not None and job.expires <= self.now:
                job.found_expired = True
        eligible = [job for job in self.known.values() if self._may_start(job)]
        took = self.run(self.workers[worker].take(free, Offer(dict.fromkeys(TYPES, "")))).jobs
        assert len(took) <= free
        for taken in took:
            job = self.known[taken.id]
            assert self._may_start(job), f"{job} was taken"
            assert taken.attempt == job.attempts + 1
            job.status, job.attempts, job.holder = "running", taken.attempt, worker
            self.held.append((worker, taken))
        # one that a take has found expired is the sweeper's, even if the clock is set back after that
        sure = [job for job in eligible if not job.found_expired]
        assert min(free, _at_once(sure)) <= len(took) <= min(free, _at_once(eligible)), eligible

    def _living(self, type, unique):
        return [j for j in self.known.values() if unique and (j.type, j.unique) == (type, unique) and j.live]

    def _may_start(self, job):
        if job.status != "pending" or self.paused & {"*", f"function:{job.type}", f"lane:{job.lane}"}:
            return False
        if job.expires is not None and job.expires <= self.now and not job.attempts:
            return False
        beside = [j for j in self.known.values() if j.type == job.type and j.status in ("running", "cancelling")]
        if job.type == "one":
            return not beside
        return job.type == "free" or job.key not in [j.key for j in beside]

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(OUTCOMES),
        delay=st.sampled_from([0, 600]),
    )
    def settle(self, data, outcome, delay):
        """Any attempt ever taken may try to end: only the one that holds its job does."""
        worker, taken = data.draw(st.sampled_from(self.held[-8:]))
        error = codec.pack({"type": "E", "message": "m"})
        (end,) = self.run(self.workers[worker].settle([Settlement(taken, outcome, error, delay)]))
        job = self.known[taken.id]
        mine = job.status in ("running", "cancelling") and (job.holder, job.attempts) == (worker, taken.attempt)
        cancelled = job.status == "cancelling"
        assert end == (("cancelled" if cancelled else "ended") if mine else "lost")
        if not mine:
            return
        job.holder = None
        if cancelled:
            job.status = "cancelled"
        elif outcome == "retry":
            job.status, job.due = "scheduled", self.now + delay
        else:
            job.status = "pending" if outcome == "released" else outcome

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data):
        worker, taken = data.draw(st.sampled_from(self.held[-8:]))
        lost, cancelled = self.workers[worker].renew(self.thread_client, [taken])
        job = self.known[taken.id]
        mine = job.status in ("running", "cancelling") and (job.holder, job.attempts) == (worker, taken.attempt)
        assert bool(lost) != mine
        assert bool(cancelled) == (mine and job.status == "cancelling")

    @rule(data=st.data(), sweeper=st.sampled_from("ab"))
    def lose_and_reclaim(self, data, sweeper):
        """Some leases run out, and a sweeper comes by."""
        running = [job for job in self.known.values() if job.status in ("running", "cancelling")]
        lapsed = data.draw(st.lists(st.sampled_from(running), unique_by=lambda j: j.id)) if running else []
        for job in lapsed:
            key = self.keys.lane(0, job.type, job.lane)
            entry = self.sync.hget(self.keys.job(0, job.id), "entry")
            self.sync.xclaim(key, "lw", "+", 0, [entry], idle=60_000, justid=True)
        self.sync.delete(self.keys.lock(0, "reclaim"))
        lanes = [(type, lane, "0-0") for type, lane in self.run(self.workers[sweeper].names())]
        self.run(self.workers[sweeper].reclaim(lanes, 1000))
        for job in self.known.values():
            if job.status == "scheduled" and job.due <= self.now:
                job.status = "pending"
            if job.status in ("pending", "scheduled") and not job.attempts and job.expires is not None:
                job.status = "failed" if job.expires <= self.now else job.status
        for job in lapsed:
            job.crashes, job.holder = job.crashes + 1, None
            poisoned = "failed" if job.crashes >= 2 else "pending"
            job.status = "cancelled" if job.status == "cancelling" else poisoned

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data):
        job = data.draw(st.sampled_from(list(self.known.values())))
        if not job.live:
            with pytest.raises(StatusConflict):
                self.run(self.operations.cancel(job.id))
            return
        at_once = self.run(self.operations.cancel(job.id))
        assert at_once == (job.status in ("pending", "scheduled"))
        job.status = "cancelled" if at_once else "cancelling"

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def replay(self, data):
        job = data.draw(st.sampled_from(list(self.known.values())))
        if job.status != "failed" or self._living(job.type, job.unique):
            with pytest.raises(StatusConflict):
                self.run(self.dead.replay(job.id))
            return
        self.run(self.dead.replay(job.id))
        job.status, job.crashes, job.expires = "pending", 0, None

    @rule(
        what=st.sampled_from(PAUSES),
        verb=st.sampled_from(["pause", "resume", "resume"]),
    )
    def pause(self, what, verb):
        self.run(getattr(self.operations, verb)([what]))
        self.paused = self.paused | {what} if verb == "pause" else self.paused - {what}

    @rule(type=st.sampled_from(TYPES), lane=st.sampled_from(LANES))
    def lose_the_group(self, type, lane):
        """A group that is destroyed comes back; what ran without a renewal meanwhile is found again."""
        if self.sync.exists(self.keys.lane(0, type, lane)):
            self.sync.xgroup_destroy(self.keys.lane(0, type, lane), "lw")
            for worker, taken in self.held:
                if (taken.type, taken.lane) == (type, lane):
                    self.workers[worker].renew(self.thread_client, [taken])

    # what is always so

    @invariant()
    def each_job_is_where_its_status_says(self):
        due = {member.decode() for member in self.sync.zrange(self.keys.due(0), 0, -1)}
        for job in self.known.values():
            record = self.sync.hgetall(self.keys.job(0, job.id))
            if job.status == "pending" and record[b"status"] == b"scheduled":
                continue  # due by a clock that has gone back since
            assert record[b"status"].decode() == job.status, job
            assert (job.id in due) == (job.status == "scheduled"), job
            assert (self.sync.pttl(self.keys.job(0, job.id)) > 0) == (not job.live), job

    @invariant()
    def a_lane_is_as_long_as_what_waits_and_runs(self):
        for type in TYPES:
            for lane in LANES:
                entries = self.sync.xrange(self.keys.lane(0, type, lane))
                found = sorted(fields[b"job"].decode() for _, fields in entries)
                there = ("pending", "running", "cancelling")
                jobs = [j for j in self.known.values() if (j.type, j.lane) == (type, lane) and j.status in there]
                assert found == sorted(j.id for j in jobs)

    @invariant()
    def limits_count_what_runs(self):
        for job in self.known.values():
            if job.type in LIMITS:
                name = job.type if job.type == "one" else f"keyed:{job.key}"
                inside = self.sync.sismember(f"{self.prefix}:{{0}}:busy:{name}", job.id)
                assert bool(inside) == (job.status in ("running", "cancelling")), job


@pytest.fixture
def stepping_clock(monkeypatch):
    """The scripts read the test's clock in place of Redis'."""
    for name in ("ENQUEUE", "TAKE", "SETTLE", "RENEW", "RECLAIM", "CANCEL", "REPLAY", "PAUSE"):
        script = getattr(scripts, name)
        told = script.text.replace(
            "local t = call('TIME')",
            "local ms = call('GET', root .. ':clock')\n  local t = {math.floor(ms / 1000), ms % 1000 * 1000}",
        )
        assert told != script.text or name in ("RENEW", "PAUSE")
        monkeypatch.setattr(script, "text", told)
        monkeypatch.setattr(script, "sha", secrets.token_hex(20))  # unknown to the server: it gets the text


def test_the_store_is_what_its_model_says(server_url, stepping_clock):
    Store.url = server_url
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
