"""Jobs of a long request, stored part by part: no more than a part is held."""

from __future__ import annotations

from collections.abc import Callable

from runtime.client.bulk import Stored
from runtime.client.client import Lanework
from runtime.errors import LaneworkError
from runtime.jobs.request import JobRequest

_JOBS = 1000  # that one script call stores: some 10 ms of the server
_BYTES = 4 << 20


class Part:
    """What is stored together. `count`: of all jobs so far, those of earlier parts too."""

    def __init__(self, lanework: Lanework, note: Callable[[Stored | LaneworkError], None]) -> None:
        """`note`: gets what came of each job, in order."""
        self.count = 0
        self._lanework = lanework
        self._note = note
        self._jobs: list[JobRequest | LaneworkError] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        return len(self._jobs) >= _JOBS or self._size >= _BYTES

    def add(self, job: JobRequest | LaneworkError, size: int) -> None:
        """Adds a job of so many bytes, or why it is none."""
        self.count += 1
        self._size += size
        self._jobs.append(job)

    async def store(self) -> None:
        """Stores what was added, and begins the next part."""
        stored = iter(await self._lanework.submit_many([job for job in self._jobs if isinstance(job, JobRequest)]))
        for job in self._jobs:
            self._note(job if isinstance(job, LaneworkError) else next(stored))
        self._jobs, self._size = [], 0
