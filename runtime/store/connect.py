"""Connections to Redis or Valkey, and what a server must be to serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, cast

import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from runtime import log
from runtime.errors import StoreError, StoreMismatch, StoreUnavailable, StoreUnsupported
from runtime.settings import Settings
from runtime.store.address import Address
from runtime.store.cluster import Cluster
from runtime.store.keys import Keys
from runtime.store.wire import Wire

# A command that takes longer than this counts as lost; its caller decides what to do.
TIMEOUT = 1.5
_PART = 1000  # members of a set that one call reads
_UNBOUNDED = 1 << 31  # connections
_OPTIONS: dict[str, Any] = {"socket_connect_timeout": TIMEOUT, "client_name": "lanework", "protocol": 2}
OVERDUE = 3.0  # seconds by which the answer to a read that blocks may come late

_AWAY = (
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
        cluster = Cluster(startup_nodes=nodes, retry=retry, max_connections=_UNBOUNDED, **options)
        cluster.call_timeout = TIMEOUT
        return cast("Redis", cluster)
    options["retry"] = AsyncRetry(NoBackoff(), 0)
    if address.kind == "sentinel":
        own = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT} | address.sentinel_options
        sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        pool: redis.asyncio.ConnectionPool = SentinelConnectionPool(address.service, sentinel, **options)  # type: ignore[no-untyped-call]
    else:
        pool = redis.asyncio.ConnectionPool(**options)
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
    await client.aclose()


class _Translated:
    """A class, as it stands round each call: a generator would cost five times as much."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (*_AWAY, *_NOT_NOW)):
            raise StoreUnavailable(f"Redis does not answer: {error or type(error).__name__}") from error
        if isinstance(error, exceptions.RedisError):
            if str(error).partition(" ")[0] in _PASSING:
                raise StoreUnavailable(f"Redis cannot serve now: {error}") from error
            raise StoreError(f"Redis refused: {error}") from error


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


async def durably(client: Redis, script: Any, root: str, *args: str | bytes | int) -> Any:
    """Runs a script, and waits until what it wrote is on the server's disk (WAITAOF).

    Raises StoreUnavailable if that takes too long, and StoreError where the server has no append-only file.
    """
    with translated():
        sync = ("WAITAOF", 1, 0, int(TIMEOUT * 1000))
        reply, synced = await client.durable_wire.call(script.by_sha(root, *args), sync)
        if isinstance(reply, exceptions.NoScriptError):
            reply, synced = await client.durable_wire.call(script.whole(root, *args), sync)
        for answer in (reply, synced):
            if isinstance(answer, Exception):
                raise answer
    if synced[0] < 1:
        raise StoreUnavailable("Redis did not write the job to disk in time")
    return reply


async def ping(client: Redis) -> None:
    """Raises StoreUnavailable unless the server answers, or each primary of a cluster does."""
    with translated():
        for server in await servers(client):
            await server.ask("PING")


@asynccontextmanager
async def opened(settings: Settings, *, timeout: float | None = TIMEOUT) -> AsyncIterator[Redis]:
    client = connect(settings, timeout=timeout)
    try:
        yield client
    finally:
        await disconnect(client)


async def check_server(client: Redis, settings: Settings) -> None:
    """Refuses a server that is too old, and settings that differ from the other processes'.

    Raises StoreUnsupported, StoreMismatch, StoreUnavailable. An evicting `maxmemory-policy` is
    warned of: under pressure it would drop jobs.
    """
    with translated():
        for info in await read_info(client, "server", "memory", "persistence"):
            _check_version(info)
            if not str(info.get("maxmemory_policy", "noeviction")).startswith("noeviction"):
                log.get("store").warning(
                    "server.evicts",
                    policy=info["maxmemory_policy"],
                    do="set maxmemory-policy noeviction: an evicting server drops jobs when memory is short",
                )
            if settings.durable:
                _check_durable(info)
        await _agree(client, settings)


async def read_info(client: Redis, *sections: str) -> list[dict[str, Any]]:
    """What each server says of itself. Raises redis-py's errors."""
    infos = []
    for server in await servers(client):
        info: dict[str, Any] = {}
        for section in sections:
            info |= await server.ask("INFO", section)
        infos.append(info)
    return infos


def _check_durable(info: dict[str, Any]) -> None:
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if "valkey_version" not in info and version < (7, 2):
        raise StoreUnsupported("LANEWORK_DURABLE needs WAITAOF: Redis 7.2+ or Valkey 8+")
    if not info.get("aof_enabled"):
        raise StoreUnsupported("LANEWORK_DURABLE needs a server with an append-only file: set appendonly yes")


def _check_version(server: dict[str, Any]) -> None:
    """Raises StoreUnsupported."""
    if (why := unsupported(server)) is not None:
        raise StoreUnsupported(why)


def unsupported(server: Mapping[str, Any]) -> str | None:
    """Why a server that says this of itself (INFO server) cannot serve; None for one that can."""
    valkey = server.get("valkey_version")
    version = str(valkey or server.get("redis_version", "0"))
    least = (8, 0) if valkey else (7, 0)
    found = tuple(int(part) for part in version.split(".")[:2])
    if found >= least:
        return None
    return f"{'Valkey' if valkey else 'Redis'} {version} is too old: Lanework needs Redis 7.0+ or Valkey 8+"


def agreed(settings: Settings) -> dict[str, str]:
    """Settings that must be the same in all processes."""
    return {"lanes": ",".join(settings.lanes), "shards": str(settings.shards)}


async def _agree(client: Redis, settings: Settings) -> None:
    """The first process stores lanes and shards; the others must have the same."""
    key, mine = Keys(settings.prefix).config, agreed(settings)
    for name, value in mine.items():
        await client.hsetnx(key, name, value)
    stored = await cast("Awaitable[dict[bytes, bytes]]", client.hgetall(key))
    for name, value in mine.items():
        theirs = stored[name.encode()].decode()
        if theirs != value:
            raise StoreMismatch(
                f"this process says {name}={value}, the others {name}={theirs}; give all the same "
                f"LANEWORK_{name.upper()} (to change it: stop every process, let no job wait, delete the key {key})"
            )
