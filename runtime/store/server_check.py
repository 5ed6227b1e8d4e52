"""What a server must be to serve."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, cast

from runtime import log
from runtime.errors import StoreMismatch, StoreUnsupported
from runtime.settings import Settings
from runtime.store.connect import Redis, read_info, translated
from runtime.store.durability import check_durable
from runtime.store.keys import Keys


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
            check_durable(info, settings)
        await _agree(client, settings)


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
