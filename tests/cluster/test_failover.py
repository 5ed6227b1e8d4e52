"""Primaries that die or hang while jobs come and run: others take over, and nothing that was accepted is lost."""

import asyncio
import contextlib
import itertools
import signal
import time

import pytest
from redis.crc import key_slot

from runtime.client import Lanework
from runtime.errors import StoreUnavailable
from runtime.store.keys import Keys
from runtime.values import ids
from runtime.worker.worker import Worker
from tests import servers
from tests.conftest import catalogue

OUT = 15.0  # seconds within which work goes on


async def until(met, what):
    """While the load goes on."""
    await asyncio.to_thread(servers.until, met, what, within=OUT)


def primary_of_shard(cluster, shard):
    return cluster.primary_of(key_slot(Keys("any").root(shard).encode()))


async def test_a_primary_is_killed_and_its_jobs_go_on_elsewhere(cluster, load):
    async with load.running():
        await load.until_more(300, OUT)
        victim = primary_of_shard(cluster, 0)
        victim.kill()
        begun = time.monotonic()
        await until(lambda: primary_of_shard(cluster, 0) not in (None, victim), "fail-over")
        victim.start()  # as what watches over it does; without a second replica, none has the new jobs
        await load.until_more(600, OUT)
        took = time.monotonic() - begun

    assert took < OUT
    assert await load.unsettled() == []
    assert load.refused


@pytest.mark.parametrize("shard", range(3))
async def test_a_shard_that_nobody_has_costs_the_others_nothing(cluster, settings, shard):
    """Whichever node it is that is away with its replica, as long as the keys of the whole system lie elsewhere."""
    primary = primary_of_shard(cluster, shard)
    gone = [node for node in cluster.nodes if node is primary or node.follows == primary.port]
    own = settings.model_copy(update={"prefix": prefix_elsewhere(primary.served())})
    for node in cluster.nodes:
        node.client.config_set("cluster-require-full-coverage", "no")

    async def note(n: int) -> int:
        return n

    worker = Worker(own, catalogue(note=note))
    work = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.started.wait(), OUT)
    async with Lanework(own) as client:
        for node in gone:
            node.kill()
        try:
            ran = [await run_where_it_can(client)]
            async with Lanework(own) as newcomer:
                ran.append(await run_where_it_can(newcomer))
        finally:
            for node in gone:
                node.start()
                node.client.config_set("cluster-require-full-coverage", "no")
            await asyncio.to_thread(cluster.await_whole)
    worker.stop()
    await asyncio.wait_for(work, OUT)

    assert min(ran) >= 10


async def test_leases_are_renewed_in_every_shard(settings):
    own = settings.model_copy(update={"lease": 1.0})

    async def long(n: int) -> int:
        await asyncio.sleep(2.5)
        return n

    worker = Worker(own, catalogue(long=long))
    work = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.started.wait(), OUT)
    async with Lanework(own) as client:
        jobs = [await client.enqueue("long", {"n": n}) for n in range(12)]
        done = [await client.wait(job, OUT) for job in jobs]
    worker.stop()
    await asyncio.wait_for(work, OUT)

    assert {ids.shard_of(job.id) for job in jobs} == set(range(6))
    assert [(job.status, len(job.attempts)) for job in done] == [("completed", 1)] * 12


def prefix_elsewhere(lost):
    return next(
        keys.prefix
        for keys in (Keys(f"test-{number}") for number in itertools.count())
        if not lost & {key_slot(key.encode()) for key in (keys.config, keys.functions, keys.workers)}
    )


async def run_where_it_can(client):
    """How many of 24 jobs ran: those of two thirds of the shards, or more."""
    jobs = []
    for n in range(24):
        with contextlib.suppress(StoreUnavailable):
            jobs.append(await client.enqueue("note", {"n": n}))
    return sum([(await client.wait(job, OUT)).status == "completed" for job in jobs])


async def test_a_primary_that_hangs_is_replaced_and_comes_back_as_a_replica(cluster, load):
    async with load.running():
        await load.until_more(300, OUT)
        victim = primary_of_shard(cluster, 1)
        victim.signal(signal.SIGSTOP)
        try:
            await until(lambda: primary_of_shard(cluster, 1) not in (None, victim), "fail-over")
        finally:
            victim.signal(signal.SIGCONT)
        await load.until_more(600, OUT)

    assert await load.unsettled() == []
    assert not victim.is_primary
