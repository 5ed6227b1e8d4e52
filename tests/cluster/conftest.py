"""A cluster of its own for each module that does harm to it, and a load that it must carry meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime import settings as settings_module
from runtime.client import Lanework
from runtime.errors import StoreUnavailable
from runtime.settings import Settings
from runtime.worker.worker import Worker
from tests.cluster.cluster_of_servers import ClusterOfServers, cluster_of_servers
from tests.conftest import catalogue, deploy

WAIT = 60.0
SHARDS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfServers]:
    with cluster_of_servers(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def settings(cluster: ClusterOfServers, tmp_path: Path) -> Settings:
    """A job is accepted once a replica has it. The leases are short: a test waits for none that was lost."""
    cluster.await_whole()
    return settings_module.load(
        {},
        redis_url=cluster.url,
        prefix=f"test-{secrets.token_hex(6)}",
        shards=SHARDS,
        files_dir=tmp_path / "files",
        lease=4.0,
        grace=5.0,
        worker_port=0,
        durable_replicas=1,
    )


class Load:
    """Jobs that are asked for, one after the other and each until it is accepted; and what became of them."""

    def __init__(self, client: Lanework) -> None:
        self._client = client
        self.accepted: dict[int, str] = {}
        self.ran: Counter[int] = Counter()
        self.last_run: dict[int, float] = {}  # by shard
        self.refused = 0
        self._numbers = itertools.count()
        self._enough = asyncio.Event()

    async def note(self, n: int) -> int:
        """The handler."""
        self.ran[n] += 1
        return n

    async def _ask(self) -> None:
        while not self._enough.is_set():
            number = next(self._numbers)
            while True:
                try:
                    job = await self._client.enqueue("note", {"n": number}, key=f"n{number}")
                    break
                except StoreUnavailable:
                    self.refused += 1
                    await asyncio.sleep(0.05)
            self.accepted[number] = job.id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asked for by ten at once, until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(self._ask())
            try:
                yield
            finally:
                self._enough.set()

    async def until_more(self, count: int, within: float) -> float:
        """Seconds until so many more were accepted and have run."""
        begun, before = time.monotonic(), len(self.ran)
        async with asyncio.timeout(within):
            while len(self.ran) < before + count:
                await asyncio.sleep(0.02)
        return time.monotonic() - begun

    async def unsettled(self) -> list[str]:
        """Waits for all that were accepted; what has not completed then, and what never ran."""
        wrong = []
        for number, job_id in self.accepted.items():
            job = await self._client.wait(job_id, WAIT)
            if (job.status, job.result) != ("completed", number) or not self.ran[number]:
                wrong.append(f"{job_id} ({number}): {job.status}, ran {self.ran[number]} times")
        return wrong


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Lanework]:
    async with Lanework(settings) as lanework:
        yield lanework


@pytest.fixture
async def load(client: Lanework, settings: Settings) -> AsyncIterator[Load]:
    """With two workers, which run what is asked for."""
    made = Load(client)
    await deploy(client, note=made.note)
    workers = [Worker(settings, catalogue(note=made.note)) for _ in range(2)]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    for worker in workers:
        await asyncio.wait_for(worker.started.wait(), WAIT)
    yield made
    for worker in workers:
        worker.stop()
    await asyncio.wait_for(asyncio.gather(*tasks), WAIT)
