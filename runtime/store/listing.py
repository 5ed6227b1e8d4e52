"""Listing jobs without an index: from the log the newest first, from the due set the soonest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from runtime.jobs import tags
from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store.connect import Redis, translated
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.record import shown_status
from runtime.values import codec, ids

SCAN_PAGE = 500
SCAN_LIMIT = 10_000
PAGE_BYTES = 4 << 20  # of the jobs of one page, and what the last of them has
_CLOCKS = 60_000  # ms by which an id's clock, its maker's, may differ from Redis'
_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")
_DUE = re.compile(r"due-([0-9]{1,15})-(.{36})")


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


class Listing:
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
        listed = await self._jobs.listed(recorded, PAGE_BYTES, wanted.left_out)
        shown = {job.id: job for job in listed.jobs}
        unread = set(recorded[listed.read :])
        archived = [job_id for job_id, _entry, _shard in page if job_id in gone]
        if archived and forgotten is not None:
            shown |= await forgotten.whole(archived, PAGE_BYTES)
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
                        pipe.xrange(self._keys.log(shard), ms, ms, count=SCAN_LIMIT)
                return {fields[b"job"].decode() for rows in await pipe.execute() for _, fields in rows}

    async def ids_of(self, *, tag: str | None = None, parent: str | None = None) -> list[str]:
        """Of a tag's jobs, or of those that a job has started, the newest first, wherever they are now."""
        return (await self._tagged(tag))[0] if tag is not None else await self._children(parent or "")

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
        for _ in range(SCAN_LIMIT // SCAN_PAGE):
            with translated():
                entries = await cast(
                    "Any", self._client.xrevrange(self._keys.log(shard), end, start, count=SCAN_PAGE)
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
            if len(entries) < SCAN_PAGE:
                return fit, lowest
            end = f"({entries[-1][0].decode()}"
        return [*fit, ("", end[1:].encode())], lowest

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
            listed = await self._jobs.listed(left[:SCAN_PAGE], PAGE_BYTES - octets, wanted.left_out)
            by_id = {job.id: job for job in listed.jobs}
            octets += listed.octets
            for index, job_id in enumerate(left[: listed.read]):
                job = by_id.get(job_id)
                if job is not None and wanted.has(job):
                    jobs.append(job)
                if len(jobs) == limit:
                    return Page(jobs, job_id if index + 1 < len(left) else None)
            last, left = left[listed.read - 1], left[listed.read :]
            if left and octets >= PAGE_BYTES:
                return Page(jobs, last, partial=True)
        return Page(jobs, beyond, partial=beyond is not None)

    async def _fitting(self, found: list[str], wanted: Wanted) -> tuple[list[str], str | None]:
        """Those of the jobs that are wanted, and behind which to look further: 10,000 are looked at in one call."""
        if wanted.after is not None:
            found = [job_id for job_id in found if ids.created_ms(job_id) >= wanted.after - _CLOCKS]
        if wanted.before is not None:
            found = [job_id for job_id in found if ids.created_ms(job_id) <= wanted.before + _CLOCKS]
        looked = found[:SCAN_LIMIT]
        fitting: list[str] = []
        for start in range(0, len(looked), SCAN_PAGE):
            part = looked[start : start + SCAN_PAGE]
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
                    self._client.zrange(self._keys.tag(shard, tags.digest(tag)), 0, SCAN_LIMIT - 1, desc=True),
                )
            found += [job_id.decode() for job_id in own]
            is_cut = is_cut or len(own) == SCAN_LIMIT
        return sorted(found, reverse=True), is_cut

    async def scheduled(self, *, limit: int, cursor: str | None = None, wanted: Wanted = EVERY) -> Page:
        """Jobs that wait for their time, the soonest first; a retry waits for its time too.

        Raises ValueError for a cursor not given here.
        """
        place = _due_place(cursor)
        jobs: list[Job] = []
        left: float = PAGE_BYTES
        for _ in range(SCAN_LIMIT // SCAN_PAGE):
            rows = await self._due(place, SCAN_PAGE)
            listed = await self._jobs.listed([job_id for _, job_id in rows], left, wanted.left_out)
            found = {job.id: job for job in listed.jobs}
            for place in rows[: listed.read]:
                job = found.get(place[1])
                if job is not None and job.status == "scheduled" and wanted.has(job):
                    jobs.append(job)
                    if len(jobs) == limit:
                        return Page(jobs, _due_cursor(place))
            left -= listed.octets
            if listed.read < len(rows) or left < 0:
                break
            if len(rows) < SCAN_PAGE:
                return Page(jobs, None)
        return Page(jobs, _due_cursor(place), partial=True)

    async def _due(self, after: tuple[int, str], count: int) -> list[tuple[int, str]]:
        """(Unix ms, id) of the next jobs that wait for their time, of all shards."""
        rows: list[tuple[int, str]] = []
        for shard in range(self._settings.shards):
            rows += await self._due_in(shard, after, count)
        return sorted(rows)[:count]

    async def _due_in(self, shard: int, after: tuple[int, str], count: int) -> list[tuple[int, str]]:
        rows: list[tuple[int, str]] = []
        offset = 0  # among those of the same millisecond, which come in the order of their ids
        while len(rows) < count:
            with translated():
                found = await cast(
                    "Any",
                    self._client.zrange(
                        self._keys.due(shard),
                        after[0],
                        "+inf",
                        byscore=True,
                        offset=offset,
                        num=count,
                        withscores=True,
                    ),
                )
            rows += [row for job_id, at in found if (row := (int(at), job_id.decode())) > after]
            if len(found) < count:
                break
            offset += count
        return rows


def _up_to(unread: set[str], rows: list[tuple[str, bytes, int]]) -> list[tuple[str, bytes, int]]:
    """The rows before the first job that was not read; one without an id says where a look ended."""
    for index, (job_id, _entry, _shard) in enumerate(rows):
        if job_id in unread:
            return rows[:index]
    return rows


def _due_place(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    found = _DUE.fullmatch(cursor)
    if not found or not ids.is_id(found[2]):
        raise ValueError("not a cursor of this list")
    return int(found[1]), found[2]


def _due_cursor(place: tuple[int, str]) -> str:
    return f"due-{place[0]}-{place[1]}"


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
