"""Which shard a job lies in."""

from __future__ import annotations

import itertools
import zlib

from runtime.errors import JobNotFound
from runtime.values import ids


class Shards:
    """So many shards, numbered from 0."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = itertools.cycle(range(count)).__next__

    def new_id(self, pin: str | None = None) -> str:
        """A fresh id; all with the same `pin` lie in one shard."""
        if self.count == 1:
            return ids.new_id(0)
        return ids.new_id(self._next() if pin is None else self.pinned(pin))

    def of(self, job_id: str) -> int:
        """The shard that an id names. Raises JobNotFound for text that is no id of a job here."""
        if not ids.is_id(job_id) or ids.shard_of(job_id) >= self.count:
            raise JobNotFound(job_id)
        return ids.shard_of(job_id)

    def pinned(self, name: str) -> int:
        """The shard of what must lie in one."""
        return zlib.crc32(name.encode()) % self.count
