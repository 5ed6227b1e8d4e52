"""When a failed attempt is tried again."""

from __future__ import annotations

import random
from collections.abc import Set
from dataclasses import dataclass

from runtime.errors import RetryLater
from runtime.values import durations

Named = str | type[BaseException]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter.

    The n-th retry waits a random time between 0 and `base * 2 ** (n - 1)` seconds, at most `cap`.
    `max_attempts` counts the first attempt too; 1 means never to retry. `retry_on`: the only exceptions that are
    tried again; none named: all. `no_retry_on`: those that fail the job at once. Both name classes, or their names,
    and hold for subclasses too; `OutOfMemory` and `Timeout` of `runtime` are among those that can be named.
    """

    max_attempts: int = 3
    base: float = 1.0
    cap: float = 60.0
    retry_on: Named | tuple[Named, ...] = ()
    no_retry_on: Named | tuple[Named, ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts is at least 1: the first attempt counts")
        if self.base < 0 or self.cap < 0:
            raise ValueError("base and cap are seconds, 0 or more")
        for field in ("retry_on", "no_retry_on"):  # as names, which other processes understand too
            object.__setattr__(self, field, _names(field, getattr(self, field)))

    def helps(self, error: BaseException) -> bool:
        """Whether a further attempt may help after this error; one that was asked for always does."""
        return isinstance(error, RetryLater) or self.helps_with({kind.__name__ for kind in type(error).__mro__})

    def helps_with(self, names: Set[str]) -> bool:
        """The same for an error by the names of its class and of those that it is of."""
        wanted, unwanted = _names("retry_on", self.retry_on), _names("no_retry_on", self.no_retry_on)
        return names.isdisjoint(unwanted) and not (wanted and names.isdisjoint(wanted))

    @classmethod
    def parse(cls, value: object) -> Retry:
        """A backoff from a request: seconds or "30s" for `base`, or {"base": …, "cap": …}. Raises ValueError."""
        if isinstance(value, (int, float, str)):
            value = {"base": value}
        if not isinstance(value, dict) or value.keys() - {"base", "cap"}:
            raise ValueError('backoff is a length of time, or {"base": "1s", "cap": "1m"}')
        base = durations.seconds(value.get("base", 1.0))
        return cls(base=base, cap=durations.seconds(value.get("cap", max(base, 60.0))))

    def delay(self, tries: int) -> float:
        """Seconds to wait after the `tries`-th attempt has failed."""
        return random.uniform(0, min(self.cap, self.base * 2 ** min(tries - 1, 62)))


def _names(field: str, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, (tuple, list)) else (value,)
    names = [
        item.__name__ if isinstance(item, type) and issubclass(item, BaseException) else item for item in values
    ]
    if not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise ValueError(f"{field} names exceptions, such as (ValueError, OutOfMemory)")
    return tuple(str(name) for name in names)
