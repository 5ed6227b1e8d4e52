"""Who may use a process next."""

from __future__ import annotations

import asyncio
from collections import deque

WITHIN = 0.1  # seconds
_AHEAD = 0.02  # seconds of work
_MAX_AHEAD = 50


class NoRoom(Exception):
    """Every process has been busy for longer than an attempt should wait here."""


class Admission:
    """Places, given out in the order of the requests."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._pace = 1.0  # seconds that an attempt takes of late

    @property
    def ahead(self) -> int:
        """How many attempts may wait for their turn: as many as start within some milliseconds. A round trip to
        Redis for each of many short ones would cost more than they do."""
        return int(self._places * min(_MAX_AHEAD, _AHEAD / self._pace))

    async def take(self, *, patient: bool = False) -> None:
        """A place, to be given back. Raises NoRoom after a moment without one, unless `patient`: another worker
        may have it."""
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        timer = None if patient else loop.call_later(WITHIN, _resolve, turn, False)
        self._waiting.append(turn)
        try:
            if not await turn:
                self._pace = 1.0
                raise NoRoom
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_back()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def give_back(self) -> None:
        """The place goes to the longest-waiting caller."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1

    def record_duration(self, seconds: float) -> None:
        """Updates the moving average of durations; one slow attempt replaces it at once."""
        self._pace = seconds if seconds > 10 * self._pace else 0.9 * self._pace + 0.1 * seconds


def _resolve(turn: asyncio.Future[bool], value: bool) -> None:
    if not turn.done():
        turn.set_result(value)
