"""The names of all keys. `lua/_keys.lua` holds the names that scripts make; a test compares the two.

A shard's keys share a hash tag (Redis Cluster specification, "Hash tags"), so that one script on
one node changes a job's state. Keys without one are the same for all shards.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase

from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

GROUP = "lw"
HISTORY = "history"  # the group of those that write history
HELD = "+"  # the consumer of all entries that workers hold; the record names the worker
BACK = "-"  # the consumer of entries that were handed back, until the next taker


@cache
def hash_tag(shard: int) -> str:
    """The shard's number, with letters behind it where they bring its slot to its place.

    The places of all shards up to any number lie evenly in the 16,384 slots: one in each third, and then each
    halves the widest gap of its third (van der Corput's sequence). Primaries with equal ranges get as many each.
    """
    if shard == 0:
        return "0"  # one that is alone has no place to keep; its slot is in the last third
    third, number = (shard - 1) % 3, shard // 3
    within = sum(1 / (2 << bit) for bit in range(number.bit_length()) if number >> bit & 1)
    width = max(4, SLOTS // (16 * (shard + 1)))
    place = int(SLOTS * (third + within) / 3) + 1
    for length in itertools.count():
        for letters in itertools.product(ascii_lowercase, repeat=length):
            tag = f"{shard}{''.join(letters)}"
            if place <= key_slot(tag.encode()) < place + width:
                return tag
    raise AssertionError("there are endlessly many tags")


@dataclass(frozen=True, slots=True)
class Keys:
    """Names below one prefix."""

    prefix: str

    def root(self, shard: int) -> str:
        return f"{self.prefix}:{{{hash_tag(shard)}}}"

    # of each shard

    def lane(self, shard: int, function: str, lane: str) -> str:
        """Stream: an entry for each job that waits or runs."""
        return f"{self.root(shard)}:q:{function}:{lane}"

    def lanes(self, shard: int) -> str:
        """Set of `function:lane`, each of which has or had a stream."""
        return f"{self.root(shard)}:lanes"

    def job(self, shard: int, job_id: str) -> str:
        """Hash: the job's record."""
        return f"{self.root(shard)}:job:{job_id}"

    def ready(self, shard: int, lane: str) -> str:
        """Sorted set of functions that have entries to take, by when they were last served."""
        return f"{self.root(shard)}:ready:{lane}"

    def bell(self, shard: int, function: str) -> str:
        """List of at most one element, which wakes a worker."""
        return f"{self.root(shard)}:bell:{function}"

    def stored(self, shard: int, job_id: str) -> str:
        """Marks the batch that began with this job as stored."""
        return f"{self.root(shard)}:stored:{job_id}"

    def backs(self, shard: int) -> str:
        """Set of `function:lane` where entries that were handed back may be."""
        return f"{self.root(shard)}:backs"

    def alive(self, shard: int, worker: str) -> str:
        """Marks a worker as alive within the last lease."""
        return f"{self.root(shard)}:alive:{worker}"

    def due(self, shard: int) -> str:
        """Sorted set of jobs by when they may start (Unix ms)."""
        return f"{self.root(shard)}:due"

    def staged(self, shard: int, job_id: str) -> str:
        """List of the jobs that an attempt starts if it completes, in packed parts, where they are many."""
        return f"{self.root(shard)}:staged:{job_id}"

    def output(self, shard: int, job_id: str) -> str:
        """Stream of what the job's newest attempt has emitted."""
        return f"{self.root(shard)}:output:{job_id}"

    def lines(self, shard: int, job_id: str) -> str:
        """Stream of the newest lines that the job's attempts have logged."""
        return f"{self.root(shard)}:lines:{job_id}"

    def starting(self, shard: int) -> str:
        """Set of completed jobs whose staged jobs have not all been started."""
        return f"{self.root(shard)}:starting"

    def join(self, shard: int, job_id: str) -> str:
        """Hash of the children that a follow-up waits for, and the follow-up."""
        return f"{self.root(shard)}:join:{job_id}"

    def expiry(self, shard: int) -> str:
        """Sorted set of jobs by when they must have started (Unix ms)."""
        return f"{self.root(shard)}:expiry"

    def dead(self, shard: int, function: str) -> str:
        """Sorted set of failed jobs by when they failed (Unix ms)."""
        return f"{self.root(shard)}:dead:{function}"

    def paused(self, shard: int) -> str:
        """Set of what is paused: `*`, `function:NAME`, `lane:NAME`."""
        return f"{self.root(shard)}:paused"

    def busy(self, shard: int, limit: str) -> str:
        """Set of the jobs whose attempts a limit counts."""
        return f"{self.root(shard)}:busy:{limit}"

    def parked(self, shard: int, limit: str) -> str:
        """List of the entries that wait for their concurrency key."""
        return f"{self.root(shard)}:parked:{limit}"

    def parks(self, shard: int) -> str:
        """Set of the limits whose list may hold entries."""
        return f"{self.root(shard)}:parks"

    def rate(self, shard: int, function: str) -> str:
        """The theoretical arrival time (µs) of a function's next start."""
        return f"{self.root(shard)}:rate:{function}"

    def unique(self, shard: int, function: str, digest: str) -> str:
        """The job that lives under a unique key."""
        return f"{self.root(shard)}:unique:{function}:{digest}"

    def idempotency(self, shard: int, digest: str) -> str:
        """The job that an idempotency key stands for."""
        return f"{self.root(shard)}:key:{digest}"

    def orders(self, shard: int, worker: str) -> str:
        """List of orders to a worker about its attempts."""
        return f"{self.root(shard)}:orders:{worker}"

    def tag(self, shard: int, digest: str) -> str:
        """Sorted set of the jobs that have a tag: those that live, and the others by when their records expire."""
        return f"{self.root(shard)}:tag:{digest}"

    def charged(self, shard: int, name: str) -> str:
        """The theoretical arrival time (µs) of an access key's next request."""
        return f"{self.root(shard)}:charged:{name}"

    def tally(self, shard: int, minute: int) -> str:
        """Hash of how many jobs were stored and settled in a minute since 1970, by `function:lane:what`."""
        return f"{self.root(shard)}:tally:{minute}"

    def turns(self, shard: int) -> str:
        """Hash: where each lane is in its share, if lanes have weights."""
        return f"{self.root(shard)}:turns"

    def cron(self, shard: int) -> str:
        """Hash of each schedule's last tick."""
        return f"{self.root(shard)}:cron"

    def log(self, shard: int) -> str:
        """Stream: an entry for each new job."""
        return f"{self.root(shard)}:log"

    def events(self, shard: int) -> str:
        """Stream: changes of state."""
        return f"{self.root(shard)}:events"

    def lock(self, shard: int, role: str) -> str:
        return f"{self.root(shard)}:lock:{role}"

    def mark(self, shard: int) -> str:
        """Written, for a second: to see whether the server takes writes, or to wait for those before."""
        return f"{self.root(shard)}:mark"

    def nothing(self, shard: int) -> str:
        """Never exists: a script that must run without memory deletes it first."""
        return f"{self.root(shard)}:nothing"

    def archive(self, shard: int) -> str:
        """Stream of settled jobs that history has not taken yet, an entry a script call."""
        return f"{self.root(shard)}:archive"

    def archiving(self, shard: int) -> str:
        """For how many ms settled jobs wait for history at most; not there while there is none."""
        return f"{self.root(shard)}:archiving"

    # of all shards

    @property
    def config(self) -> str:
        return f"{self.prefix}:config"

    @property
    def webhook_secret(self) -> str:
        """What callbacks are signed with, where the settings do not say."""
        return f"{self.prefix}:webhook-secret"

    @property
    def access(self) -> str:
        """Hash of the access keys, by name."""
        return f"{self.prefix}:access"

    @property
    def functions(self) -> str:
        return f"{self.prefix}:functions"

    @property
    def workers(self) -> str:
        """Sorted set of worker ids by when they started (Unix ms)."""
        return f"{self.prefix}:workers"

    def worker(self, worker: str) -> str:
        return f"{self.prefix}:worker:{worker}"

    def permanent(self) -> tuple[str, ...]:
        """Patterns of the keys that may live without a TTL; every other key has one."""
        shard = f"{self.prefix}:{{*}}"
        return (
            f"{shard}:q:*",
            f"{shard}:lanes",
            f"{shard}:backs",
            f"{shard}:bell:*",
            f"{shard}:ready:*",
            f"{shard}:due",
            f"{shard}:expiry",
            f"{shard}:paused",
            f"{shard}:cron",
            f"{shard}:turns",
            f"{shard}:parks",
            # those below live as long as jobs that have not settled
            f"{shard}:busy:*",
            f"{shard}:parked:*",
            f"{shard}:unique:*",
            f"{shard}:tag:*",
            f"{shard}:join:*",
            f"{shard}:starting",
            f"{shard}:staged:*",
            f"{shard}:log",
            f"{shard}:events",
            f"{shard}:archive",
            f"{shard}:archiving",
            self.access,
            self.webhook_secret,
            self.config,
            self.functions,
            self.workers,
        )

    def passing(self) -> tuple[str, ...]:
        """Patterns of the keys that have a TTL; a job's record gets its own when the job settles."""
        shard = f"{self.prefix}:{{*}}"
        kinds = [
            "job",
            "stored",
            "alive",
            "dead",
            "rate",
            "key",
            "orders",
            "charged",
            "tally",
            "lock",
            "output",
            "lines",
        ]
        return (*(f"{shard}:{kind}:*" for kind in kinds), f"{shard}:mark", self.worker("*"))
