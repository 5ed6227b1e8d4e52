"""Which shard a job lies in."""

from __future__ import annotations

import itertools
import zlib

from runtime.values import ids


class Shards:
    """So many shards, numbered from 0."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = itertools.cycle(range(count)).__next__

    def new_id(self, home: str | None = None) -> str:
        """A fresh id; all with the same `home` lie in one shard."""
        if self.count == 1:
            return ids.new_id(0)
        return ids.new_id(self._next() if home is None else self.home(home))

    def home(self, name: str) -> int:
        """The shard of what must lie in one."""
        return zlib.crc32(name.encode()) % self.count
