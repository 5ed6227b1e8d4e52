"""The same on a cluster: its nodes are sent away, stopped and given other slots instead of a server.

Primaries are not killed here. What a primary took from a worker in its last moment may be lost with it, so that an
attempt has run that no record knows of: no account of attempts is exact then. tests/cluster shows that no accepted
job is lost then, and that work goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from types import TracebackType

from redis.crc import key_slot
from redis.exceptions import ResponseError

from runtime import settings
from runtime.store.keys import Keys
from tests.chaos.monkey import Monkey
from tests.chaos.stage import LEASE, Stage
from tests.cluster.cluster_of_servers import ClusterOfServers, Node, cluster_of_servers

SHARDS = 6


class ClusterStage(Stage):
    def __init__(self) -> None:
        super().__init__()
        self._ends = contextlib.ExitStack()
        self.cluster: ClusterOfServers

    def start_server(self) -> None:
        self.cluster = self._ends.enter_context(cluster_of_servers(self.data / "nodes"))
        self.url = self.cluster.url
        self.settings = settings.load({}, redis_url=self.url, lease=LEASE, shards=SHARDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.callback(super().__exit__, kind, error, trace)
        self._ends.close()

    def restore(self) -> None:
        self.restore_workers()
        self.cluster.await_whole()


class ClusterMonkey(Monkey):
    def __init__(self, stage: ClusterStage, dice: random.Random) -> None:
        super().__init__(stage, dice)
        self._cluster = stage.cluster
        self.harms += [self._promote, self._move_slot] * 4 + [self._kill_replica, self._stall_node] * 2

    async def _promote(self) -> None:
        """A replica takes its primary's place, in order (CLUSTER FAILOVER)."""
        await asyncio.to_thread(self._cluster.await_whole)
        replica = self._dice.choice(self._replicas())
        replica.client.execute_command("CLUSTER", "FAILOVER")
        await asyncio.to_thread(self._cluster.await_whole)

    async def _kill_replica(self) -> None:
        await asyncio.to_thread(self._cluster.await_whole)
        replica = self._dice.choice(self._replicas())
        replica.kill()
        await asyncio.sleep(self._dice.uniform(0, 0.5))
        await asyncio.to_thread(replica.start)

    async def _stall_node(self) -> None:
        """For less than what counts as failed."""
        node = self._dice.choice(self._cluster.nodes)
        node.signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.2, 1.0))
        node.signal(signal.SIGCONT)

    async def _move_slot(self) -> None:
        await asyncio.to_thread(self._cluster.await_whole)
        slot = key_slot(Keys("lw").root(self._dice.randrange(SHARDS)).encode())
        source = self._cluster.primary_of(slot)
        others = [node for node in self._cluster.nodes if node is not source and node.is_primary]
        if source is not None:
            with contextlib.suppress(ResponseError):  # the target does not know yet who has the slot
                await asyncio.to_thread(self._cluster.move_at_once, slot, source, self._dice.choice(others))

    def _replicas(self) -> list[Node]:
        return [node for node in self._cluster.nodes if not node.is_primary]
