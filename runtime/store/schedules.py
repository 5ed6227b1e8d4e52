"""The ticks of schedules: each is enqueued once, however many workers try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.connect import Redis, translated
from runtime.store.keys import Keys
from runtime.store.rows import NewJob
from runtime.values import codec
from runtime.values.shards import Shards


class Ticked(NamedTuple):
    """A schedule's past. `tick`: the last one that was dealt with; `ran`: the last that was enqueued, as
    `job`; in Unix ms. `skipped`: how many were missed for good."""

    tick: int
    ran: int | None = None
    job: str | None = None
    skipped: int = 0


class Schedules:
    """Where each schedule is, in the shard that its function is pinned to."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._keys = Keys(settings.prefix)
        self._shards = Shards(settings.shards)

    async def now(self) -> int:
        """Redis' clock, in Unix ms."""
        with translated():
            seconds, micros = await cast("Any", self._client.time())
        return int(seconds) * 1000 + int(micros) // 1000

    async def past(self, function: str, keys: Sequence[str]) -> list[Ticked | None]:
        """Where each schedule of a function is; None for one that is new."""
        name = self._keys.cron(self._shards.pinned(function))
        with translated():
            found = await cast("Any", self._client.hmget(name, [f"{function}|{key}" for key in keys]))
        return [None if packed is None else Ticked(**codec.unpack(packed)) for packed in found]

    async def tick(self, function: str, key: str, tick: int, skipped: int, job: NewJob | None) -> bool:
        """Enqueues `job` for a tick, or passes over it (None); False where that had been done already."""
        root = self._keys.root(self._shards.pinned(function))
        packed = b"" if job is None else codec.pack_batch(job._replace(id=self._shards.new_id(function)))
        reply = await scripts.TICK(self._client, root, f"{function}|{key}", tick, skipped, packed)
        return bool(reply == 1)
