"""Jobs as records: storing, reading and listing them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from runtime import codec, ids
from runtime.errors import JobNotFound
from runtime.job import Job, from_record
from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.connect import Redis, ping, translated
from runtime.store.keys import Keys

_SCAN_PAGE = 500
_SCAN_MOST = 10_000
_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


class NewJob(NamedTuple):
    """A job to be stored; `payload` is packed."""

    id: str
    type: str
    lane: str
    payload: bytes
    max_attempts: int


class Page(NamedTuple):
    """Jobs from newest to oldest, and where the next page begins (None: there is none)."""

    jobs: list[Job]
    cursor: str | None


class Jobs:
    """The jobs of all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._log_ms = int(settings.keep * 1000)
        self._next_shard = itertools.cycle(range(settings.shards)).__next__

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        await ping(self._client)

    def new_id(self) -> str:
        return ids.new_id(self._next_shard())

    async def enqueue(self, batch: Sequence[NewJob]) -> int:
        """Stores jobs and returns Redis' time of it (Unix ms).

        All of a shard's jobs or none. A call that got no answer may be repeated with the same batch.
        """
        by_shard: dict[int, list[NewJob]] = {}
        if self._settings.shards == 1:
            by_shard[0] = list(batch)
        else:
            for job in batch:
                by_shard.setdefault(ids.shard_of(job.id), []).append(job)
        now = 0
        for shard, jobs in by_shard.items():
            root = self._keys.root(shard)
            now = await scripts.ENQUEUE(self._client, root, codec.pack_batch(jobs), self._log_ms)
        return now

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        if not ids.is_id(job_id) or ids.shard_of(job_id) >= self._settings.shards:
            raise JobNotFound(job_id)
        with translated():
            record = await cast("Any", self._client.hgetall(self._keys.job(ids.shard_of(job_id), job_id)))
        if b"payload" not in record:
            raise JobNotFound(job_id)
        return from_record(job_id, record, self._settings.lanes)

    async def page(
        self, *, limit: int, cursor: str | None = None, type: str | None = None, status: str | None = None
    ) -> Page:
        """The newest jobs first, those that fit `type` and `status` alone.

        Reads at most 10,000 entries of the log in one call: where few jobs fit, a page may come
        short, with a cursor to go on from. Raises ValueError for a cursor not given here.
        """
        places = _places(cursor, self._settings.shards)
        found: list[tuple[str, bytes, int]] = []
        for shard, place in enumerate(places):
            if place is not None:
                found += [(id, entry, shard) for id, entry in await self._scan(shard, place, limit, type, status)]
        found.sort(key=lambda row: _when(row[1]), reverse=True)
        page = found[:limit]
        for _id, entry, shard in page:
            places[shard] = entry.decode()
        jobs = await self._known([(shard, job_id) for job_id, _entry, shard in page if job_id])
        return Page(
            jobs,
            ",".join(place or "-" for place in places) if len(page) == limit or len(jobs) < len(page) else None,
        )

    async def _known(self, wanted: Sequence[tuple[int, str]]) -> list[Job]:
        """Those of the jobs that still have a record."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for shard, job_id in wanted:
                    pipe.hgetall(self._keys.job(shard, job_id))
                records = await pipe.execute()
        found = zip(wanted, records, strict=True)
        return [from_record(id, record, self._settings.lanes) for (_, id), record in found if b"payload" in record]

    async def _scan(
        self, shard: int, place: str, limit: int, type: str | None, status: str | None
    ) -> list[tuple[str, bytes]]:
        """(id, entry) of up to `limit` jobs that fit, newest first, after `place` in the shard's log."""
        fit: list[tuple[str, bytes]] = []
        end = "+" if place == "+" else f"({place}"
        for _ in range(_SCAN_MOST // _SCAN_PAGE):
            with translated():
                entries = await cast(
                    "Any", self._client.xrevrange(self._keys.log(shard), end, "-", count=_SCAN_PAGE)
                )
                rows = [(e, f[b"job"]) for e, f in entries if type is None or f[b"type"] == type.encode()]
                async with self._client.pipeline(transaction=False) as pipe:
                    for _entry, job_id in rows:
                        pipe.hget(self._keys.job(shard, job_id.decode()), "status")
                    found = await pipe.execute()
            for (entry, job_id), is_ in zip(rows, found, strict=True):
                if is_ is not None and (status is None or is_ == status.encode()):
                    fit.append((job_id.decode(), entry))
                    if len(fit) == limit:
                        return fit
            if len(entries) < _SCAN_PAGE:
                return fit
            end = f"({entries[-1][0].decode()}"
        return [*fit, ("", end[1:].encode())]


def _when(entry: bytes) -> tuple[int, int]:
    ms, _, sequence = entry.partition(b"-")
    return int(ms), int(sequence)


def _places(cursor: str | None, shards: int) -> list[str | None]:
    if cursor is None:
        return ["+"] * shards
    places = cursor.split(",")
    if len(places) != shards:
        raise ValueError("not a cursor of this list")
    for place in places:
        if place not in ("+", "-") and not _ENTRY.fullmatch(place):
            raise ValueError("not a cursor of this list")
    return [None if place == "-" else place for place in places]
