"""Listing jobs without an index: the newest first, from the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from runtime.settings import Settings
from runtime.store import pages
from runtime.store.connect import Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.pages import EVERY, Forgotten, Page, Wanted
from runtime.store.record import shown_status

_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


class NewestJobs:
    """The jobs of all shards, a page at a time."""

    def __init__(self, client: Redis, settings: Settings, jobs: Jobs) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._jobs = jobs

    async def page(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        wanted: Wanted = EVERY,
        forgotten: Forgotten | None = None,
    ) -> Page:
        """The newest jobs first.

        Reads at most 10,000 entries of each shard's log in one call, and some 4 MiB of jobs: a page may come short
        (`partial`), with a cursor to go on from. Raises ValueError for a cursor not given here.
        """
        places = _places(cursor, self._settings.shards)
        found: list[tuple[str, bytes, int]] = []
        gone: set[str] = set()
        reached: list[int | None] = [None] * len(places)
        for shard, place in enumerate(places):
            if place is not None:
                rows, reached[shard] = await self._scan(shard, place, limit, wanted, gone, forgotten)
                found += [(id, entry, shard) for id, entry in rows]
        found.sort(key=lambda row: _when(row[1]), reverse=True)
        page = found[:limit]
        recorded = [job_id for job_id, _entry, _shard in page if job_id and job_id not in gone]
        listed = await self._jobs.listed(recorded, pages.PAGE_BYTES, wanted.left_out)
        shown = {job.id: job for job in listed.jobs}
        unread = set(recorded[listed.read :])
        archived = [job_id for job_id, _entry, _shard in page if job_id in gone]
        if archived and forgotten is not None:
            shown |= await forgotten.whole(archived, pages.PAGE_BYTES)
            unread |= set(archived) - shown.keys()
        page = _up_to(unread, page)
        for _id, entry, shard in page:
            places[shard] = entry.decode()
        ended = len(page) < limit and page == found and all(job_id for job_id, _entry, _shard in page)
        cursor = None if ended else ",".join(place or "-" for place in places)
        jobs = [shown[job_id] for job_id, *_ in page if job_id in shown]
        return Page(jobs, cursor, not ended and len(page) < limit, tuple(reached) if ended else ())

    async def made_at(self, times: Sequence[int | None]) -> set[str]:
        """Ids of jobs that each shard's log has of one ms; up to 10,000 of each shard."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for shard, ms in enumerate(times):
                    if ms is not None:
                        pipe.xrange(self._keys.log(shard), ms, ms, count=pages.SCAN_LIMIT)
                return {fields[b"job"].decode() for rows in await pipe.execute() for _, fields in rows}

    async def _scan(
        self,
        shard: int,
        place: str,
        limit: int,
        wanted: Wanted,
        gone: set[str],
        forgotten: Forgotten | None,
    ) -> tuple[list[tuple[str, bytes]], int | None]:
        """(id, entry) of up to `limit` jobs that fit, newest first, after `place` in the shard's log, and down to
        when it went. Adds to `gone` those that have no record."""
        fit: list[tuple[str, bytes]] = []
        lowest = None if place == "+" else _above(place.encode())
        # an entry's id begins with the ms in which its job was made
        end = "+" if place == "+" else f"({place}"
        if place == "+" and wanted.before is not None:
            end = str(wanted.before)
        start = "-" if wanted.after is None else str(wanted.after)
        for _ in range(pages.SCAN_LIMIT // pages.SCAN_PAGE):
            with translated():
                entries = await cast(
                    "Any", self._client.xrevrange(self._keys.log(shard), end, start, count=pages.SCAN_PAGE)
                )
                rows = [(e, f[b"job"]) for e, f in entries if wanted.fits(f[b"type"].decode())]
                async with self._client.pipeline(transaction=False) as pipe:
                    for _entry, job_id in rows:
                        pipe.hmget(self._keys.job(shard, job_id.decode()), ["status", "lane"])
                    found = await pipe.execute()
            if entries:
                lowest = _above(entries[-1][0])
            missing = [job_id.decode() for (_, job_id), (is_, _) in zip(rows, found, strict=True) if is_ is None]
            if missing and forgotten is not None:
                gone |= {id for id, job in (await forgotten.looks(missing)).items() if wanted.has(job)}
            for (entry, job_id), (is_, lane) in zip(rows, found, strict=True):
                if job_id.decode() in gone or (
                    is_ is not None
                    and wanted.status in (None, shown_status(is_))
                    and wanted.lane in (None, lane.decode())
                ):
                    fit.append((job_id.decode(), entry))
                    if len(fit) == limit:
                        return fit, lowest
            if len(entries) < pages.SCAN_PAGE:
                return fit, lowest
            end = f"({entries[-1][0].decode()}"
        return [*fit, ("", end[1:].encode())], lowest


def _up_to(unread: set[str], rows: list[tuple[str, bytes, int]]) -> list[tuple[str, bytes, int]]:
    """The rows before the first job that was not read; one without an id says where a look ended."""
    for index, (job_id, _entry, _shard) in enumerate(rows):
        if job_id in unread:
            return rows[:index]
    return rows


def _when(entry: bytes) -> tuple[int, int]:
    ms, _, sequence = entry.partition(b"-")
    return int(ms), int(sequence)


def _above(entry: bytes) -> int:
    """The ms of which jobs may come after this entry: its own, or the one before if it is the first of its own."""
    ms, sequence = _when(entry)
    return ms if sequence else ms - 1


def _places(cursor: str | None, shards: int) -> list[str | None]:
    if cursor is None:
        return ["+"] * shards
    places = cursor.split(",")
    if len(places) != shards:
        raise ValueError("not a cursor of this list")
    for place in places:
        if place not in ("+", "-") and (not _ENTRY.fullmatch(place) or _when(place.encode()) == (0, 0)):
            raise ValueError("not a cursor of this list")
    return [None if place == "-" else place for place in places]
