"""How the server itself is: its memory, and the log that it keeps on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from runtime.store.connect import Redis, translated


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


async def read_server(client: Redis) -> Server:
    """Raises StoreUnavailable."""
    with translated():
        return Server.of(await client.info("memory") | await client.info("persistence"))
