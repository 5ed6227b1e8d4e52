"""Nodes that are cut off from each other: the minority stops, the majority goes on, nothing accepted is lost."""

import asyncio
import time

import pytest
from redis.crc import key_slot

from runtime.store.keys import Keys
from tests import servers
from tests.cluster.cluster_of_servers import PRIMARIES, cluster_of_servers
from tests.cluster.network import network

OUT = 15.0


@pytest.fixture(scope="module")
def net():
    with network(2 * PRIMARIES) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(net, tmp_path_factory):
    with cluster_of_servers(tmp_path_factory.mktemp("cut"), net.places()) as started:
        yield started


@pytest.mark.parametrize(("cut", "mend"), [("cut", "mend"), ("unplug", "plug")])
async def test_a_primary_that_is_cut_off_is_replaced_and_what_it_took_alone_was_not_accepted(
    cluster, net, load, settings, cut, mend
):
    """Cut off from the other nodes alone, it takes jobs on, and their senders are told that no replica has them."""
    slot = key_slot(Keys(settings.prefix).root(0).encode())
    victim = cluster.primary_of(slot)
    async with load.running():
        await load.until_more(300, OUT)
        getattr(net, cut)(victim.host)
        begun = time.monotonic()
        try:
            await asyncio.to_thread(servers.until, lambda: _others(cluster, slot, victim), "fail-over", within=OUT)
        finally:
            getattr(net, mend)(victim.host)
        await load.until_more(600, OUT)
        took = time.monotonic() - begun

    assert took < OUT
    assert await load.unsettled() == []


def _others(cluster, slot, victim):
    """Whether another node serves the slot."""
    return any(slot in node.served() for node in cluster.nodes if node is not victim)
