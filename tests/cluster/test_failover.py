"""Primaries that die or hang while jobs come and run: others take over, and nothing that was accepted is lost."""

import asyncio
import signal
import time

from redis.crc import key_slot

from runtime.store.keys import Keys
from tests import servers

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
