"""The store's tests run on every server: Redis 7 and 8, Valkey 8 and 9, in containers or embedded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Offer, Settlement, Taken
from runtime.store.connect import Redis
from runtime.store.dead import Dead
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.newest_jobs import NewestJobs
from runtime.store.operations import Operations
from runtime.store.rows import NewJob, Scan
from runtime.store.scheduled_jobs import ScheduledJobs
from runtime.store.thread_client import ThreadClient
from runtime.values import codec, ids
from tests.servers import server_in_container

# beside the Redis of the other tests (7) and the embedded Valkey (9)
OTHERS = {
    "valkey-8": (os.environ.get("VALKEY_8_IMAGE", "valkey/valkey:8-alpine"), "valkey-server"),
    "redis-8": (os.environ.get("REDIS_8_IMAGE", "redis:8-alpine"), "redis-server"),
}


@pytest.fixture(scope="session", params=["redis", "valkey", *OTHERS])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if url := os.environ.get("LANEWORK_TEST_REDIS_URL"):
        if request.param != "redis":
            pytest.skip("LANEWORK_TEST_REDIS_URL names the one server")
        yield url
    elif request.param in OTHERS:
        with server_in_container(*OTHERS[request.param]) as url:
            yield url
    else:
        yield str(request.getfixturevalue("redis_url" if request.param == "redis" else "embedded_url"))


class Store:
    """The store as two workers, `a` and `b`, see it."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.keys = Keys(settings.prefix)
        self.jobs = Jobs(client, settings)
        self.newest_jobs = NewestJobs(client, settings, self.jobs)
        self.scheduled_jobs = ScheduledJobs(client, settings, self.jobs)
        self.dead = Dead(client, settings, self.jobs)
        self.operations = Operations(client, settings)
        self.a = AttemptStore(client, settings, 0, "worker-a")
        self.b = AttemptStore(client, settings, 0, "worker-b")
        self._sync = ThreadClient(settings)

    async def enqueue(self, type: str = "f", lane: str = "normal", count: int = 1, **more: Any) -> list[str]:
        payload = codec.pack(more.get("payload"))
        made = [NewJob(ids.new_id(), type, lane, payload, more.get("max_attempts", 3)) for _ in range(count)]
        await self.jobs.enqueue(made)
        return [job.id for job in made]

    async def take(self, free: int = 100, *functions: str, by: AttemptStore | None = None) -> list[Taken]:
        return (await (by or self.a).take(free, Offer(dict.fromkeys(functions or ("f",), "")))).jobs

    async def settle(
        self, taken: Taken, outcome: Any = "completed", *, by: AttemptStore | None = None, **more: Any
    ) -> bool:
        value = codec.pack(more.get("value"))
        (end,) = await (by or self.a).settle([Settlement(taken, outcome, value, more.get("delay", 0))])
        return end != "lost"

    def renew(self, *held: Taken, by: AttemptStore | None = None) -> list[Taken]:
        lost, _cancelled = (by or self.a).renew(self._sync, held)
        return lost

    async def lapse(self, taken: Taken, seconds: float = 60) -> None:
        """Lets a lease run out: the entry looks as if it had not been renewed for so long."""
        key = self.keys.lane(0, taken.type, taken.lane)
        pending = await self.client.xpending_range(key, "lw", taken.entry, taken.entry, 1)
        holder: Any = pending[0]["consumer"]
        await self.client.xclaim(key, "lw", holder, 0, [taken.entry], idle=int(seconds * 1000), justid=True)

    async def reclaim(self, by: AttemptStore | None = None) -> Any:
        lanes = [Scan(function, lane, "0-0") for function, lane in await self.a.names()]
        swept = await (by or self.b).reclaim(lanes, 1000)
        return None if swept is None else swept.swept

    async def length(self, type: str = "f", lane: str = "normal") -> int:
        return int(await self.client.xlen(self.keys.lane(0, type, lane)))

    def close(self) -> None:
        self._sync.close()


@pytest.fixture
def store(redis: Redis, settings: Settings) -> Iterator[Store]:
    made = Store(redis, settings)
    yield made
    made.close()
