"""Job ids: UUIDv7 (RFC 9562, section 5.7) whose 12 `rand_a` bits hold the job's shard.

An id finds its job without a look-up and sorts by the time of its making.
"""

from __future__ import annotations

import os
import time

MAX_SHARDS = 1 << 12

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM = (1 << 62) - 1


def new_id(shard: int = 0) -> str:
    """A fresh id in the canonical 36 characters."""
    ms = time.time_ns() // 1_000_000
    value = (ms << 80) | _VERSION | (shard << 64) | _VARIANT | (int.from_bytes(os.urandom(8)) & _RANDOM)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id made here; says nothing of a job behind it."""
    if len(text) != 36 or text[14] != "7" or text != text.lower():
        return False
    groups = text.split("-")
    return [len(g) for g in groups] == [8, 4, 4, 4, 12] and all(c in "0123456789abcdef-" for c in text)


def shard_of(job_id: str) -> int:
    """The shard that an id names."""
    return int(job_id[15:18], 16)
