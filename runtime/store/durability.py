"""Answering only once a new job cannot be lost: on the server's disk, and with replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis import exceptions

from runtime.errors import StoreUnavailable, StoreUnsupported
from runtime.settings import Settings
from runtime.store.connect import TIMEOUT, Redis, translated
from runtime.store.wire import Command

_EARLIER = 500  # ms by which the server gives up before its client does


class Durability(NamedTuple):
    """`on_disk`: whether the append-only files of the primary, and of so many `replicas`, are to be on the disk."""

    on_disk: bool
    replicas: int

    @classmethod
    def of(cls, settings: Settings) -> Durability | None:
        """None where nothing is waited for."""
        wanted = cls(settings.durable, settings.durable_replicas)
        return wanted if any(wanted) else None

    def command(self) -> Command:
        """What waits for it, behind the write on the same connection."""
        limit = int(TIMEOUT * 1000) - _EARLIER
        return ("WAITAOF", 1, self.replicas, limit) if self.on_disk else ("WAIT", self.replicas, limit)

    def check(self, answer: Any) -> None:
        """Raises StoreUnavailable where it was not reached in time."""
        local, replicas = answer if self.on_disk else (1, answer)
        if local < 1:
            raise StoreUnavailable("Redis did not write the job to disk in time")
        if replicas < self.replicas:
            raise StoreUnavailable(
                f"{replicas} of {self.replicas} replicas had the job in time; it is stored, and may be lost with "
                "the primary. The same request with the same idempotency key asks again"
            )


async def durably(client: Redis, wanted: Durability, script: Any, root: str, *args: str | bytes | int) -> Any:
    """Runs a script, and waits until what it wrote is as safe as it is to be (WAITAOF, WAIT).

    Raises StoreUnavailable if that takes too long, and StoreError where the server has no append-only file.
    """
    with translated():
        reply, reached = await client.durable_wire.call(script.by_sha(root, *args), wanted.command())
        if isinstance(reply, exceptions.NoScriptError):
            reply, reached = await client.durable_wire.call(script.whole(root, *args), wanted.command())
        for answer in (reply, reached):
            if isinstance(answer, Exception):
                raise answer
    wanted.check(reached)
    return reply


async def made_safe(client: Redis, wanted: Durability, mark: str) -> None:
    """Waits until all that the server has written so far is as safe as it is to be; writes `mark`, a key.

    Raises as `durably` does.
    """
    with translated():
        replies = await client.durable_wire.call(("SET", mark, 1, "PX", 1000), wanted.command())
        for answer in replies:
            if isinstance(answer, Exception):
                raise answer
    wanted.check(replies[-1])


def check_durable(info: Mapping[str, Any], settings: Settings) -> None:
    """Raises StoreUnsupported where a server (INFO) cannot do what the settings ask for."""
    if not settings.durable:
        return
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if "valkey_version" not in info and version < (7, 2):
        raise StoreUnsupported("LANEWORK_DURABLE needs WAITAOF: Redis 7.2+ or Valkey 8+")
    if not info.get("aof_enabled"):
        raise StoreUnsupported("LANEWORK_DURABLE needs a server with an append-only file: set appendonly yes")
