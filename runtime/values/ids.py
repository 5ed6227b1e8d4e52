"""Job ids: UUIDv7 (RFC 9562, section 5.7) whose 12 `rand_a` bits hold the job's shard.

An id finds its job without a look-up and sorts by the time of its making.
"""

from __future__ import annotations

import os
import re
import time
from array import array

MAX_SHARDS = 1 << 12

_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_VARIANT = 0b10 << 62
_AHEAD = 1024
_COUNTED = 5  # hexadecimal digits of an id that others are counted on from
_RANDOM = (1 << 62) - 1


def new_id(shard: int = 0) -> str:
    """A fresh id in the canonical 36 characters."""
    time_part = f"{time.time_ns() // 1_000_000:012x}"
    rest = f"{_VARIANT | _random() & _RANDOM:016x}"
    return f"{time_part[:8]}-{time_part[8:]}-7{shard:03x}-{rest[:4]}-{rest[4:]}"


def new_first(shard: int = 0) -> str:
    """A fresh id that `following` counts on from."""
    return new_id(shard)[:-_COUNTED] + "0" * _COUNTED


def following(first: str, number: int) -> str:
    """The id that is so much higher, which nobody else gets. Raises ValueError for a number of 2**20 and more."""
    if not 0 <= number < 1 << 4 * _COUNTED:
        raise ValueError("more ids than can be counted")
    return f"{first[:-_COUNTED]}{number:0{_COUNTED}x}"


def distance(first: str, other: str) -> int:
    """By how much the other is higher."""
    return int(other[-_COUNTED:], 16) - int(first[-_COUNTED:], 16)


def _random() -> int:
    """64 random bits; asking the system for a thousand bytes costs what asking for eight does."""
    while True:
        try:
            return _spare.pop()
        except IndexError:
            _spare.extend(array("Q", os.urandom(_AHEAD)))


_spare: list[int] = []
os.register_at_fork(after_in_child=_spare.clear)


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id made here; says nothing of a job behind it."""
    return _ID.fullmatch(text) is not None


def created_ms(job_id: str) -> int:
    """When the id was made, in Unix ms by the clock of its maker."""
    return int(job_id[:8] + job_id[9:13], 16)


def shard_of(job_id: str) -> int:
    """The shard that an id names."""
    return int(job_id[15:18], 16)
