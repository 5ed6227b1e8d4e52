"""Listing the jobs of a tag, and those that a job has started."""

from __future__ import annotations

from typing import Any, cast

from runtime.jobs import tags
from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import pages
from runtime.store.connect import Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.pages import EVERY, Page, Wanted
from runtime.store.record import shown_status
from runtime.values import codec, ids

_CLOCKS = 60_000  # ms by which an id's clock, its maker's, may differ from Redis'


class RelatedJobs:
    """Jobs that belong together, a page at a time, the newest first."""

    def __init__(self, client: Redis, settings: Settings, jobs: Jobs) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._jobs = jobs

    async def ids_of(self, *, tag: str | None = None, parent: str | None = None) -> list[str]:
        """Of a tag's jobs, or of those that a job has started, the newest first, wherever they are now."""
        return (await self._tagged(tag))[0] if tag is not None else await self._children(parent or "")

    async def tagged(self, tag: str, *, limit: int, cursor: str | None = None, wanted: Wanted = EVERY) -> Page:
        """The jobs of a tag (`name:value`), the newest first.

        Of more than 10,000 in a shard, those that live are read first, and the rest is left out (`partial`).
        """
        found, is_cut = await self._tagged(tag)
        page = await self._of(found, limit, cursor, wanted)
        return page._replace(partial=page.partial or is_cut)

    async def children(self, parent: str, *, limit: int, cursor: str | None = None, wanted: Wanted = EVERY) -> Page:
        """The jobs that a job has started, the newest first."""
        return await self._of(await self._children(parent), limit, cursor, wanted)

    async def _children(self, parent: str) -> list[str]:
        if not ids.is_id(parent) or ids.shard_of(parent) >= self._settings.shards:
            return []
        with translated():
            key = self._keys.job(ids.shard_of(parent), parent)
            packed = await cast("Any", self._client.hget(key, "children"))
        return sorted({child.decode() for child in codec.unpack_stream(packed or b"")}, reverse=True)

    async def _of(self, found: list[str], limit: int, cursor: str | None, wanted: Wanted) -> Page:
        """A page of these jobs, in their order. `cursor`: the last job that was looked at."""
        if cursor is not None and not ids.is_id(cursor):
            raise ValueError("not a cursor of this list")
        left = [job_id for job_id in found if cursor is None or job_id < cursor]
        left, beyond = await self._fitting(left, wanted)
        jobs: list[Job] = []
        octets = 0.0
        while left:
            listed = await self._jobs.listed(left[: pages.SCAN_PAGE], pages.PAGE_BYTES - octets, wanted.left_out)
            by_id = {job.id: job for job in listed.jobs}
            octets += listed.octets
            for index, job_id in enumerate(left[: listed.read]):
                job = by_id.get(job_id)
                if job is not None and wanted.has(job):
                    jobs.append(job)
                if len(jobs) == limit:
                    return Page(jobs, job_id if index + 1 < len(left) else None)
            last, left = left[listed.read - 1], left[listed.read :]
            if left and octets >= pages.PAGE_BYTES:
                return Page(jobs, last, partial=True)
        return Page(jobs, beyond, partial=beyond is not None)

    async def _fitting(self, found: list[str], wanted: Wanted) -> tuple[list[str], str | None]:
        """Those of the jobs that are wanted, and behind which to look further: 10,000 are looked at in one call."""
        if wanted.after is not None:
            found = [job_id for job_id in found if ids.created_ms(job_id) >= wanted.after - _CLOCKS]
        if wanted.before is not None:
            found = [job_id for job_id in found if ids.created_ms(job_id) <= wanted.before + _CLOCKS]
        looked = found[: pages.SCAN_LIMIT]
        fitting: list[str] = []
        for start in range(0, len(looked), pages.SCAN_PAGE):
            part = looked[start : start + pages.SCAN_PAGE]
            with translated():
                async with self._client.pipeline(transaction=False) as pipe:
                    for job_id in part:
                        pipe.hmget(self._keys.job(ids.shard_of(job_id), job_id), ["type", "status", "lane"])
                    rows = await pipe.execute()
            fitting += [
                job_id
                for job_id, (type, status, lane) in zip(part, rows, strict=True)
                if type is not None
                and wanted.fits(type.decode())
                and wanted.status in (None, shown_status(status))
                and wanted.lane in (None, lane.decode())
            ]
        return fitting, looked[-1] if len(found) > len(looked) else None

    async def _tagged(self, tag: str) -> tuple[list[str], bool]:
        """Ids of the tag's jobs, the newest first, and whether there are more than were read."""
        found: list[str] = []
        is_cut = False
        for shard in range(self._settings.shards):
            with translated():
                own = await cast(
                    "Any",
                    self._client.zrange(
                        self._keys.tag(shard, tags.digest(tag)), 0, pages.SCAN_LIMIT - 1, desc=True
                    ),
                )
            found += [job_id.decode() for job_id in own]
            is_cut = is_cut or len(own) == pages.SCAN_LIMIT
        return sorted(found, reverse=True), is_cut
