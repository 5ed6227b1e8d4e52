"""Times: Unix milliseconds inside, RFC 3339 in UTC with milliseconds outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


def now_ms() -> int:
    """This machine's clock. Scripts use Redis TIME alone; this serves ids and logs."""
    return time.time_ns() // 1_000_000


@lru_cache(1024)
def rfc3339(ms: int | None) -> str | None:
    """`1700000000123` as `2023-11-14T22:13:20.123Z` (RFC 3339, section 5.6).

    Cached, because the times in one reply, and in replies sent with it, are mostly the same.
    """
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    return f"{_to_second(seconds)}.{rest:03d}Z"


@lru_cache(1024)
def _to_second(seconds: int) -> str:
    """Kept as well: where the milliseconds differ, as in a list of jobs, most of the seconds are alike."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
