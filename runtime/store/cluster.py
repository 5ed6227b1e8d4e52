"""A Redis Cluster as one client: each command goes to the primary that has its key's slot.

redis-py does that for its own calls. Scripts and other calls on wires go as here, and follow one rule more: while a
slot is moved key by key (MIGRATE), no script runs, because it would see a part of its shard's keys. Its first key
exists nowhere, so that the source refuses it with ASK, and nobody follows. It runs again once the slot has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import redis.asyncio
from redis import exceptions
from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot

from runtime.store.wire import Argument, Command, Wire

_REDIRECTS = 5
_REFRESH = 0.5  # seconds between two looks at who has which slots
_READS = frozenset(("DEL", "GET", "HGET", "HGETALL", "HMGET", "XINFO", "XRANGE", "XREVRANGE"))  # of one key


class Cluster(redis.asyncio.RedisCluster):
    """redis-py's client of a cluster, with wires as `connect.Redis` has them."""

    gathers = False  # see Wire

    def __init__(self, call_timeout: float, **options: Any) -> None:
        """`call_timeout`: seconds of a call on a wire that does not say."""
        super().__init__(**options)
        self.call_timeout = call_timeout
        self.commands_parser = _Commands(self)

    @cached_property
    def wire(self) -> ClusterWire:
        return ClusterWire(self, self.call_timeout, gathers=self.gathers)

    @cached_property
    def durable_wire(self) -> ClusterWire:
        return ClusterWire(self, self.call_timeout)

    @cached_property
    def slots(self) -> Slots:
        return Slots(self)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """redis-py sends a first command to any node: to one that is away, too."""
        if self._initialize:
            await self.initialize()
        return await super().execute_command(*args, **options)

    async def initialize(self, *args: Any, **options: Any) -> Cluster:
        """redis-py looks anew at all 16,384 slots with each call after an error, which takes 10 ms: a worker whose
        readers wait for a fail-over would do nothing else. Here all calls share a look. redis-py also wants one
        certain node to answer; here any node will do, for the shards of all others to go on."""
        if self._initialize:
            self.slots.look_again()
            await self.slots.look()
            primaries = self.get_primaries()
            if self.get_default_node() is None and primaries:
                self.set_default_node(primaries[0])
            if not self.commands_parser.commands:
                await self.commands_parser.initialize()
            self._initialize = False
        return self

    def close_wires(self) -> None:
        """`aclose` does not: redis-py calls it itself, to connect anew."""
        self.wire.close()
        self.durable_wire.close()


class _Commands(AsyncCommandsParser):
    """Which arguments of a command are keys, as any node says; redis-py asks one certain node."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster

    async def initialize(self, node: ClusterNode | None = None) -> None:
        error: Exception = exceptions.ConnectionError("no node of the cluster is known")
        for each in [*self._cluster.get_primaries(), *self._cluster.startup_nodes]:
            try:
                await super().initialize(each)
                return
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as away:
                error = away
        raise error


class Slots:
    """Who has which slots, as far as this process knows."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._stale = False

    async def primary(self, key: str) -> ClusterNode:
        """Raises redis-py's errors where no node answers, or none has the slot."""
        if self._cluster._initialize:  # redis-py says so in no other way
            await self._cluster.initialize()
        elif self._stale:
            await self.look()
        return self._cluster.nodes_manager.get_node_from_slot(key_slot(key.encode()))

    def look_again(self) -> None:
        """With the next call: what is known has turned out to be wrong."""
        self._stale = True

    async def look(self) -> None:
        """Once for all who wait, and not more often than it is worth."""
        loop = asyncio.get_running_loop()
        if self._looking is None or self._looking.done():
            if self._cluster.get_primaries() and loop.time() - self._looked_at < _REFRESH:
                return
            self._looked_at = loop.time()
            self._looking = loop.create_task(self._cluster.nodes_manager.initialize())
            self._looking.add_done_callback(self._seen)
        try:
            await asyncio.shield(self._looking)
        except asyncio.CancelledError:
            if self._looking.cancelled():  # not who asked
                raise exceptions.ConnectionError("the client was closed") from None
            raise

    def _seen(self, looking: asyncio.Task[None]) -> None:
        self._stale = looking.cancelled() or looking.exception() is not None

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()


class ClusterWire:
    """A wire to each primary; the commands of one call are of one shard."""

    def __init__(self, cluster: Cluster, timeout: float, *, gathers: bool = False) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._gathers = gathers
        self._wires: dict[tuple[str, int], Wire] = {}

    async def execute_command(self, *command: Argument) -> Any:
        """As `Wire.execute_command`."""
        (reply,) = await self.call(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call(self, *commands: Command, timeout: float | None = None) -> list[Any]:
        """As `Wire.call`; follows a slot that has moved. TryAgainError is among the answers while it is moved."""
        slots, replies = self._cluster.slots, list[Any]()
        async with asyncio.timeout(self._timeout if timeout is None else timeout):
            node = await slots.primary(_key(commands[0]))
        at = node.host, int(node.port)
        for _ in range(_REDIRECTS):
            try:
                replies += await self._to(at).call(*commands[len(replies) :], timeout=timeout)
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                slots.look_again()
                raise
            moved = next((i for i, reply in enumerate(replies) if isinstance(reply, exceptions.MovedError)), None)
            if moved is None:
                break
            refused = replies[moved]
            at = refused.host or at[0], refused.port
            slots.look_again()
            del replies[moved:]  # with what is behind it: it may have been for the one that was refused
        else:
            raise exceptions.TryAgainError("the slot moves from node to node")
        return [await self._follow(c, r) for c, r in zip(commands, replies, strict=True)]

    async def _follow(self, command: Command, reply: Any) -> Any:
        """What the node that gets the slot says, where this one has the key no longer."""
        if isinstance(reply, exceptions.ClusterDownError):
            self._cluster.slots.look_again()
        if not isinstance(reply, exceptions.AskError):
            return reply
        if command[0] not in _READS:
            return exceptions.TryAgainError("the slot of this shard is being moved to another node")
        _asked, reply = await self._to((reply.host, reply.port)).call(("ASKING",), command)
        return reply

    def _to(self, at: tuple[str, int]) -> Wire:
        wire = self._wires.get(at)
        if wire is None:
            node = ClusterNode(*at, **self._cluster.connection_kwargs)
            wire = Wire(
                lambda: node.connection_class(**node.connection_kwargs), self._timeout, gathers=self._gathers
            )
            self._wires[at] = wire
        return wire

    def close(self) -> None:
        self._cluster.slots.close()
        for wire in self._wires.values():
            wire.close()


def _key(command: Sequence[Argument]) -> str:
    """The first key of a command (Redis commands, "Key specifications")."""
    name = command[0]
    return str(command[3] if name in ("EVALSHA", "EVAL") else command[2] if name == "XINFO" else command[1])
