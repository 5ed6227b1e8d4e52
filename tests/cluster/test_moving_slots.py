"""A shard's slot goes to another node while its jobs come and run."""

import asyncio

from redis.crc import key_slot

from runtime.store.keys import Keys
from tests.servers import until

SOON = 20.0


async def moved(cluster, load, settings, move):
    """All that ran meanwhile ran once: no lease was lost."""
    slot = key_slot(Keys(settings.prefix).root(0).encode())
    source = cluster.primary_of(slot)
    (target, *_others) = [node for node in cluster.nodes if node.is_primary and node is not source]
    async with load.running():
        await load.until_more(600, SOON)
        await asyncio.to_thread(move, slot, source, target)
        await load.until_more(600, SOON)

    assert cluster.primary_of(slot) is target
    assert await load.unsettled() == []
    assert set(load.ran.values()) == {1}


async def test_at_once(cluster, load, settings):
    await moved(cluster, load, settings, cluster.move_at_once)


async def test_key_by_key_the_shard_waits_and_nothing_is_stored_in_two_places(cluster, load, settings):
    def refused_meanwhile():
        before = load.refused
        until(lambda: load.refused > before + 3, "refusal", within=SOON)

    def move(slot, source, target):
        assert cluster.move_key_by_key(slot, source, target, refused_meanwhile) > 100

    await moved(cluster, load, settings, move)
