"""How the server itself is: its memory, and the log that it keeps on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from runtime.store.connect import Redis, read_info, translated


class Server(NamedTuple):
    """`memory_limit`: bytes, 0 where it has none. `keeps_log`: whether it has an append-only file. `writes_log`:
    whether that was written, and rewritten, without an error the last time."""

    memory_used: int
    memory_limit: int
    keeps_log: bool
    writes_log: bool

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Server:
        """From what INFO says of memory and persistence."""
        written = (info.get("aof_last_write_status", "ok"), info.get("aof_last_bgrewrite_status", "ok"))
        return cls(
            int(info.get("used_memory", 0)),
            int(info.get("maxmemory", 0)),
            bool(info.get("aof_enabled")),
            written == ("ok", "ok"),
        )

    @classmethod
    def of_all(cls, infos: Iterable[Mapping[str, Any]]) -> Server:
        """The sum of a cluster's primaries; of logs, what is true of every one."""
        each = [cls.of(info) for info in infos]
        limit = sum(one.memory_limit for one in each) if all(one.memory_limit for one in each) else 0
        return cls(
            sum(one.memory_used for one in each),
            limit,
            all(one.keeps_log for one in each),
            all(one.writes_log for one in each),
        )


async def read_server(client: Redis) -> Server:
    """Raises StoreUnavailable."""
    with translated():
        return Server.of_all(await read_info(client, "memory", "persistence"))
