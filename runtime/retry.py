"""When a failed attempt is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from runtime import durations


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter.

    The n-th retry waits a random time between 0 and `base * 2 ** (n - 1)` seconds, at most `cap`.
    `max_attempts` counts the first attempt too; 1 means never to retry.
    """

    max_attempts: int = 3
    base: float = 1.0
    cap: float = 60.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts is at least 1: the first attempt counts")
        if self.base < 0 or self.cap < 0:
            raise ValueError("base and cap are seconds, 0 or more")

    @classmethod
    def parse(cls, given: object) -> Retry:
        """A backoff from a request: seconds or "30s" for `base`, or {"base": …, "cap": …}. Raises ValueError."""
        if isinstance(given, (int, float, str)):
            given = {"base": given}
        if not isinstance(given, dict) or given.keys() - {"base", "cap"}:
            raise ValueError('backoff is a length of time, or {"base": "1s", "cap": "1m"}')
        base = durations.seconds(given.get("base", 1.0))
        return cls(base=base, cap=durations.seconds(given.get("cap", max(base, 60.0))))

    def delay(self, tries: int) -> float:
        """Seconds to wait after the `tries`-th attempt has failed."""
        return random.uniform(0, min(self.cap, self.base * 2 ** min(tries - 1, 62)))
