"""The attempts that a worker holds, until their ends are in Redis."""

from __future__ import annotations

import asyncio

from runtime.store.attempts import Taken
from runtime.worker.attempt import Attempt


class Held:
    """By job. The event loop changes it; threads may look at it."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._removed = asyncio.Event()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._attempts)

    def holds(self, attempt: Attempt) -> bool:
        """Whether exactly this attempt of its job is held."""
        return self._attempts.get(attempt.taken.id) is attempt

    def all(self) -> list[Attempt]:
        """From any thread."""
        return list(self._attempts.values())

    def add(self, attempt: Attempt) -> None:
        """An earlier attempt of its job, whose lease ran out, is stopped: the job came back to this very worker."""
        before = self._attempts.get(attempt.taken.id)
        if before is not None and before.runs:
            before.cancel("lost")
        self._attempts[attempt.taken.id] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Does nothing where it is not held."""
        if self.holds(attempt):
            del self._attempts[attempt.taken.id]
            if self._waiting:
                self._removed.set()

    async def until_at_most(self, count: int) -> None:
        """Returns once at most that many are held."""
        while len(self._attempts) > count:
            self._removed.clear()
            self._waiting += 1
            try:
                await self._removed.wait()
            finally:
                self._waiting -= 1

    # stopping running attempts; call these on the event loop

    def lose(self, taken: Taken) -> None:
        """Stops an attempt that another worker has taken over."""
        attempt = self._attempts.get(taken.id)
        if attempt is not None and attempt.taken is taken and attempt.runs:
            attempt.cancel("lost")

    def cancel(self, job_id: str, number: int) -> None:
        """Stops an attempt whose job is to be cancelled, if it still runs here."""
        attempt = self._attempts.get(job_id)
        if attempt is not None and attempt.taken.attempt == number and attempt.cause is None and attempt.runs:
            attempt.cancel("cancelled")

    def release_all(self) -> int:
        """Stops every handler, so that its job is handed back; returns how many."""
        running = [attempt for attempt in self._attempts.values() if attempt.runs]
        for attempt in running:
            attempt.cancel("released")
        return len(running)
