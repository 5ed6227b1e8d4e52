"""Schedules: cron expressions in a time zone, with daylight saving as Debian's cron has it.

Where clocks go forward, a tick at a time that does not exist comes just after the gap; where they go
back, one at a fixed time comes once. Expressions with `*` in minutes or hours follow the elapsed time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Schedule:
    """`cron`: five fields (or six, seconds first). `timezone`: an IANA name. `payload`: of the jobs it makes."""

    cron: str
    timezone: str = "UTC"
    payload: Any = None

    def __post_init__(self) -> None:
        """Raises ValueError."""
        try:
            self.next(0)
        except (CronSimError, StopIteration) as error:
            reason = str(error) or "it never comes"
            raise ValueError(f'{self.cron!r} is not a schedule ({reason}); try "*/5 * * * *"') from None
        except (KeyError, OSError):
            raise ValueError(f"{self.timezone!r} is not a time zone; such as Europe/Berlin") from None

    @property
    def key(self) -> str:
        return f"{self.cron}|{self.timezone}"

    def next(self, after: int) -> int:
        """The first tick after a time; both in Unix ms."""
        return _ms(next(CronSim(self.cron, self._at(after))))

    def missed(self, since: int, now: int) -> tuple[int, int] | None:
        """The last tick after `since` and up to `now`, and how many came before it (up to 1000 are counted).

        None where there was none.
        """
        ticks = CronSim(self.cron, self._at(since))
        passed = list(itertools.takewhile(lambda ms: ms <= now, map(_ms, itertools.islice(ticks, _COUNTED))))
        if not passed:
            return None
        last = passed[-1]
        if len(passed) == _COUNTED:
            last = _ms(next(CronSim(self.cron, self._at((now // 1000 + 1) * 1000), reverse=True)))
        return last, len(passed) - 1

    def _at(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(self.timezone))


def _ms(tick: datetime) -> int:
    return round(tick.timestamp() * 1000)
