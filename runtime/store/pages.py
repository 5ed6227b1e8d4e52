"""What a list of jobs may leave out, and a page of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from runtime.jobs.job import Job

SCAN_PAGE = 500
SCAN_LIMIT = 10_000
PAGE_BYTES = 4 << 20  # of the jobs of one page, and what the last of them has


def _any(_type: str) -> bool:
    return True


class Wanted(NamedTuple):
    """Which jobs a list has. `fits`: of which types. `after`, `before`: when they were made, in Unix ms.
    `left_out`: fields of their records that it does not show."""

    fits: Callable[[str], bool] = _any
    status: str | None = None
    lane: str | None = None
    after: int | None = None
    before: int | None = None
    left_out: tuple[str, ...] = ()

    def has(self, job: Job) -> bool:
        return (
            self.fits(job.type)
            and self.status in (None, job.status)
            and self.lane in (None, job.lane)
            and (self.after is None or self.after <= job.created_at)
            and (self.before is None or job.created_at <= self.before)
        )


EVERY = Wanted()


class Page(NamedTuple):
    """Jobs in their order, and where the next page begins (None: there is none). `partial`: whether it is shorter
    than was asked for although there may be more: so much was looked at, or so large are the jobs. `reached`: of
    the last page of a log, down to when each shard's went (Unix ms), None where it had nothing."""

    jobs: list[Job]
    cursor: str | None
    partial: bool = False
    reached: tuple[int | None, ...] = ()


class Forgotten(Protocol):
    """Gives jobs whose records have gone, by id."""

    async def looks(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """Each with its type, lane, status and the time of its making alone."""

    async def whole(self, job_ids: Sequence[str], byte_limit: int) -> Mapping[str, Job]:
        """As lists show them: the first ones, that have no more bytes in all, at least one."""
