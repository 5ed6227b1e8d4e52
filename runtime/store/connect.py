"""Connections to Redis or Valkey: to one server, to the primary that sentinels name, or to a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from runtime.errors import StoreError, StoreUnavailable
from runtime.settings import Settings
from runtime.store.address import Address
from runtime.store.cluster import Cluster
from runtime.store.wire import Wire

# A command that takes longer than this counts as lost; its caller decides what to do.
TIMEOUT = 1.5
_PART = 1000  # members of a set that one call reads
_UNBOUNDED = 1 << 31  # connections
_OPTIONS: dict[str, Any] = {"socket_connect_timeout": TIMEOUT, "client_name": "lanework", "protocol": 2}
OVERDUE = 3.0  # seconds by which the answer to a read that blocks may come late

AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
)
# error codes of a server that will serve again: a replica too few, a disk that is full, a failover
_PASSING = frozenset(
    ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED")
)
_NOT_NOW = (
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.AskError,
    exceptions.ClusterDownError,
    exceptions.ClusterError,
    exceptions.MasterDownError,
    exceptions.MovedError,
    exceptions.TryAgainError,
)


class Redis(redis.asyncio.Redis):
    """redis-py's client, and a wire on which the scripts go; one more for calls that wait for the disk, or
    those behind them on the same connection would wait too."""

    gathers = False  # see Wire

    @cached_property
    def wire(self) -> Wire:
        return Wire(self.connection_pool.make_connection, TIMEOUT, gathers=self.gathers)

    @cached_property
    def durable_wire(self) -> Wire:
        return Wire(self.connection_pool.make_connection, TIMEOUT)

    def close_wires(self) -> None:
        self.wire.close()
        self.durable_wire.close()


def connect(settings: Settings, *, timeout: float | None = TIMEOUT) -> Redis:
    """A client; `disconnect` closes it. `timeout`: seconds for one command, None for reads that block.

    That of a cluster has the same commands and wires, though not the type. Raises SettingsInvalid.
    """
    address = Address.of(settings.redis_url)
    options = _OPTIONS | {"socket_timeout": timeout} | address.options
    if address.kind == "cluster":
        nodes = [ClusterNode(*host) for host in address.hosts]
        # one look more at who has the slot, when a node does not answer
        retry = AsyncRetry(NoBackoff(), 1)
        options |= {"retry": retry, "max_connections": _UNBOUNDED}
        return cast("Redis", Cluster(TIMEOUT, startup_nodes=nodes, **options))
    options["retry"] = AsyncRetry(NoBackoff(), 0)
    if address.kind == "sentinel":
        own = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT} | address.sentinel_options
        own["retry"] = AsyncRetry(NoBackoff(), 0)  # the next one is asked instead
        sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        pool: redis.asyncio.ConnectionPool = SentinelConnectionPool(address.service, sentinel, **options)  # type: ignore[no-untyped-call]
    else:
        pool = redis.asyncio.ConnectionPool.from_url(address.url, **options)
    return cast("Redis", Redis.from_pool(pool))


class ServerClient:
    """One of the servers that hold a part of the keys."""

    def __init__(self, client: Any, node: ClusterNode | None = None) -> None:
        self._client = client
        self._target = {} if node is None else {"target_nodes": node}
        self.address = "" if node is None else node.name

    async def ask(self, *command: str) -> Any:
        """A command that is about the server, not about a key. Raises redis-py's errors."""
        return await self._client.execute_command(*command, **self._target)


async def servers(client: Redis) -> list[ServerClient]:
    """The one, or the primaries of a cluster. Raises redis-py's errors."""
    cluster: Any = client
    if not isinstance(cluster, Cluster):
        return [ServerClient(client)]
    await cluster.initialize()
    return [ServerClient(cluster, node) for node in cluster.get_primaries()]


async def disconnect(client: Redis) -> None:
    client.close_wires()
    cluster: Any = client
    if isinstance(cluster, Cluster):  # whose `aclose` does nothing after an error
        await cluster.nodes_manager.aclose()
        await cluster.nodes_manager.aclose("startup_nodes")
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()
    await client.aclose()


class _Translated:
    """A class, as it stands round each call: a generator would cost five times as much."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (*AWAY, *_NOT_NOW)):
            raise StoreUnavailable(f"Redis does not answer: {_text(error)}") from error
        if isinstance(error, exceptions.RedisError):
            if str(error).partition(" ")[0] in _PASSING:
                raise StoreUnavailable(f"Redis cannot serve now: {error}") from error
            raise StoreError(f"Redis refused: {error}") from error


def _text(error: BaseException) -> str:
    """That no sentinel knows the primary comes with how each of them was asked, to the last option."""
    return str(error).partition(" : <")[0] or type(error).__name__


_TRANSLATED = _Translated()


def translated() -> _Translated:
    """Turns redis-py's errors into the store's own."""
    return _TRANSLATED


async def members(client: Redis, key: str) -> list[str]:
    """A set's members in order, read in parts: a large one keeps the server for no longer than a small one."""
    with translated():
        found = {member async for member in client.sscan_iter(key, count=_PART)}
    return sorted(member.decode() for member in found)


async def blpop(client: Redis, keys: Sequence[str], timeout: float) -> tuple[bytes, bytes] | None:
    """The first element of the first list that has one; waits for it, at most `timeout` seconds.

    Raises StoreUnavailable if the server does not even report a timeout: the connection hangs.
    """
    with translated():
        async with asyncio.timeout(timeout + OVERDUE):
            return await cast("Any", client.blpop(list(keys), timeout=timeout))  # type: ignore[no-any-return]


async def ping(client: Redis) -> None:
    """Raises StoreUnavailable unless the server answers, or one of a cluster's primaries does."""
    with translated():
        pings = [asyncio.ensure_future(server.ask("PING")) for server in await servers(client)]
        try:
            for left, answer in zip(reversed(range(len(pings))), asyncio.as_completed(pings), strict=True):
                try:
                    await answer
                    return
                except AWAY:
                    if not left:
                        raise
        finally:
            for ping_sent in pings:
                ping_sent.cancel()
            await asyncio.wait(pings)


@asynccontextmanager
async def opened(settings: Settings, *, timeout: float | None = TIMEOUT) -> AsyncIterator[Redis]:
    client = connect(settings, timeout=timeout)
    try:
        yield client
    finally:
        await disconnect(client)


async def read_info(client: Redis, *sections: str) -> list[dict[str, Any]]:
    """What each server that answers says of itself. Raises redis-py's errors where none does."""
    infos: list[dict[str, Any]] = []
    error: Exception | None = None
    for server in await servers(client):
        info: dict[str, Any] = {}
        try:
            for section in sections:
                info |= await server.ask("INFO", section)
        except AWAY as away:
            error = away
        else:
            infos.append(info)
    if error is not None and not infos:
        raise error
    return infos
