"""How much waits and runs, counted from the streams themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

from runtime.settings import Settings
from runtime.store.connect import Redis, members, translated
from runtime.store.keys import BACK, GROUP, Keys


class Depth(NamedTuple):
    """One function's jobs in one lane."""

    function: str
    lane: str
    waiting: int
    running: int


class Stats:
    """Counts over all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._shards = settings.shards
        self._keys = Keys(settings.prefix)

    async def depths(self) -> list[Depth]:
        """XLEN is waiting + running: settled entries are deleted."""
        totals: dict[tuple[str, str], tuple[int, int]] = {}
        for shard in range(self._shards):
            for name, waiting, running in await self._of(shard):
                before = totals.get(name, (0, 0))
                totals[name] = (before[0] + waiting, before[1] + running)
        return [Depth(*name, *counts) for name, counts in sorted(totals.items())]

    async def scheduled(self) -> int:
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for shard in range(self._shards):
                    pipe.zcard(self._keys.due(shard))
                return sum(await pipe.execute())

    async def _of(self, shard: int) -> list[tuple[tuple[str, str], int, int]]:
        streams = await members(self._client, self._keys.lanes(shard))
        names = [(function, lane) for function, _, lane in (stream.partition(":") for stream in streams)]
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for function, lane in names:
                    key = self._keys.lane(shard, function, lane)
                    pipe.xlen(key)
                    pipe.xpending(key, GROUP)
                # a lane whose group no worker has made yet has nothing pending
                replies = await pipe.execute(raise_on_error=False)
        counts = []
        for name, length, pending in zip(names, replies[::2], replies[1::2], strict=True):
            running = 0 if isinstance(pending, Exception) else _held(pending)
            total = 0 if isinstance(length, Exception) else length
            counts.append((name, total - running, running))
        return counts


def _held(pending: dict[str, Any]) -> int:
    """What workers hold: entries that were handed back wait for the next taker."""
    return sum(c["pending"] for c in pending["consumers"] or () if c["name"] != BACK.encode())
