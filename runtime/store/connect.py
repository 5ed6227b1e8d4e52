"""Connections to Redis or Valkey, and what a server must be to serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, cast

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

from runtime import log
from runtime.errors import StoreError, StoreMismatch, StoreUnavailable, StoreUnsupported
from runtime.settings import Settings
from runtime.store.keys import Keys
from runtime.store.wire import Wire

SyncRedis = redis.Redis

# A command that takes longer than this counts as lost; its caller decides what to do.
TIMEOUT = 1.5
_PART = 1000  # members of a set that one call reads
OVERDUE = 3.0  # seconds by which the answer to a read that blocks may come late

_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, OSError, TimeoutError)
# error codes of a server that will serve again: a replica too few, a disk that is full, a failover
_PASSING = frozenset(
    ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED")
)
_NOT_NOW = (exceptions.BusyLoadingError, exceptions.ReadOnlyError, exceptions.OutOfMemoryError)


class Redis(redis.asyncio.Redis):
    """redis-py's client, and a wire on which the scripts go; one more for calls that wait for the disk, or
    those behind them on the same connection would wait too."""

    gathers = False  # see Wire

    @cached_property
    def wire(self) -> Wire:
        return Wire(self.connection_pool, TIMEOUT, gathers=self.gathers)

    @cached_property
    def durable_wire(self) -> Wire:
        return Wire(self.connection_pool, TIMEOUT)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        self.wire.close()
        self.durable_wire.close()
        await super().aclose(close_connection_pool)


def connect(settings: Settings, *, timeout: float | None = TIMEOUT) -> Redis:
    """A pool of connections. `timeout`: seconds for one command, None for reads that block."""
    client: Redis = Redis.from_url(  # type: ignore[assignment]
        settings.redis_url,
        socket_timeout=timeout,
        socket_connect_timeout=TIMEOUT,
        retry=AsyncRetry(NoBackoff(), 0),
        client_name="lanework",
        protocol=2,
    )
    return client


def connect_sync(settings: Settings) -> SyncRedis:
    """A connection for a thread of its own."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=SyncRetry(NoBackoff(), 0),
        client_name="lanework",
        protocol=2,
    )


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
    """Raises StoreUnavailable unless the server answers."""
    with translated():
        await client.ping()


@asynccontextmanager
async def opened(settings: Settings, *, timeout: float | None = TIMEOUT) -> AsyncIterator[Redis]:
    client = connect(settings, timeout=timeout)
    try:
        yield client
    finally:
        await client.aclose()


async def check_server(client: Redis, settings: Settings) -> None:
    """Refuses a server that is too old, and settings that differ from the other processes'.

    Raises StoreUnsupported, StoreMismatch, StoreUnavailable. An evicting `maxmemory-policy` is
    warned of: under pressure it would drop jobs.
    """
    with translated():
        server, memory = await client.info("server"), await client.info("memory")
        _check_version(server)
        if not str(memory.get("maxmemory_policy", "noeviction")).startswith("noeviction"):
            log.get("store").warning(
                "server.evicts",
                policy=memory["maxmemory_policy"],
                do="set maxmemory-policy noeviction: an evicting server drops jobs when memory is short",
            )
        if settings.durable:
            _check_durable(server, await client.info("persistence"))
        await _agree(client, settings)


def _check_durable(server: dict[str, Any], persistence: dict[str, Any]) -> None:
    version = tuple(int(part) for part in str(server.get("redis_version", "0")).split(".")[:2])
    if "valkey_version" not in server and version < (7, 2):
        raise StoreUnsupported("LANEWORK_DURABLE needs WAITAOF: Redis 7.2+ or Valkey 8+")
    if not persistence.get("aof_enabled"):
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
