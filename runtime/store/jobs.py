"""Jobs as records: storing and reading them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from runtime.errors import JobNotFound, StoreUnavailable
from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import record, scripts
from runtime.store.cluster import Cluster
from runtime.store.connect import Redis, ping, translated
from runtime.store.durability import Durability, durably, made_safe
from runtime.store.keys import Keys
from runtime.store.rows import NewJob
from runtime.values import codec, ids
from runtime.values.shards import Shards


class Refusal(NamedTuple):
    """Why a job was not stored, and the id of the job that is there already.

    known: its idempotency key has been there with the same request. differs: the key stands for another
    request. duplicate: an equal job lives. full: so many jobs of the function wait already.
    """

    verdict: Literal["known", "differs", "duplicate", "full"]
    other: str = ""
    waiting: int = 0


_ERASED = 500  # jobs that one script call erases
_SMALL = 300  # bytes of a record's small fields
_MIDDLING = ("error", "progress")  # fields that are always read, of some kilobytes at most


class _Look(NamedTuple):
    """A record's status, and the bytes of its larger fields."""

    status: bytes | None
    sizes: Mapping[str, int]


class Listed(NamedTuple):
    """Jobs as lists show them; `read`: how many of the wanted ones were looked at, `octets`: their size."""

    jobs: list[Job]
    read: int
    octets: float


class Jobs:
    """The jobs of all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._shards = Shards(settings.shards)
        self._log_ms = int(settings.keep * 1000)
        self._key_ms = int(settings.keep_keys * 1000)
        self._lanes = ",".join(settings.lanes)
        self._durability = Durability.of(settings)

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        await ping(self._client)

    async def try_write(self) -> None:
        """Raises StoreUnavailable where the server takes no writes, or no primary of a cluster does: as replicas do
        not, and those at their maxmemory."""
        for shard in range(self._settings.shards):
            try:
                with translated():
                    await self._client.set(self._keys.mark(shard), 1, px=1000)
                return
            except StoreUnavailable:
                if not isinstance(self._client, Cluster) or shard + 1 == self._settings.shards:
                    raise

    async def enqueue(self, batch: Sequence[NewJob]) -> tuple[int, dict[str, Refusal]]:
        """Stores jobs; returns Redis' time (Unix ms), and refusals by job id.

        All of a shard's jobs or none. A call that got no answer may be repeated with the same batch. Raises
        StoreUnavailable, after 1.5 s without an answer.
        """
        if self._settings.shards == 1:
            return await self._store(0, batch)
        by_shard: dict[int, list[NewJob]] = {}
        for job in batch:
            by_shard.setdefault(ids.shard_of(job.id), []).append(job)
        calls = [self._store(shard, jobs) for shard, jobs in by_shard.items()]
        now, refused = 0, dict[str, Refusal]()
        for reply in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(reply, BaseException):
                raise reply
            now = reply[0]
            refused |= reply[1]
        return now, refused

    async def _store(self, shard: int, jobs: Sequence[NewJob]) -> tuple[int, dict[str, Refusal]]:
        root = self._keys.root(shard)
        args = (codec.pack_batch(jobs), self._log_ms, self._key_ms, self._lanes)
        if self._durability is not None:
            now, rows = await durably(self._client, self._durability, scripts.ENQUEUE, root, *args)
            if rows:  # what was refused, because it is stored already, must be as safe; only a write is waited for
                await made_safe(self._client, self._durability, self._keys.mark(shard))
        else:
            now, rows = await scripts.ENQUEUE(self._client, root, *args)
        return now, {jobs[index - 1].id: _refusal(verdict, about) for index, verdict, about in rows}

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        shard = self._shards.of(job_id)
        with translated():
            # on the wire: a thousand who look at once share a connection
            flat = await self._client.wire.execute_command("HGETALL", self._keys.job(shard, job_id))
        each = iter(flat)
        fields = dict(zip(each, each, strict=True))
        if b"payload" not in fields:
            raise JobNotFound(job_id)
        return record.read(job_id, fields, self._settings.lanes)

    async def known(self, job_ids: Sequence[str], left_out: Collection[str] = ()) -> list[Job]:
        """Those of the jobs that still have a record, as lists show them."""
        return (await self.listed(job_ids, left_out=left_out)).jobs if job_ids else []

    async def erase(self, job_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Deletes settled jobs for good; the ids of those that were there, and of those that have not settled."""
        by_shard: dict[int, list[str]] = {}
        for job_id in job_ids:
            if ids.shard_of(job_id) < self._settings.shards:  # else it is of a time with more
                by_shard.setdefault(ids.shard_of(job_id), []).append(job_id)
        erased, alive = set[str](), set[str]()
        for shard, own in by_shard.items():
            for start in range(0, len(own), _ERASED):
                part = own[start : start + _ERASED]
                replies = await scripts.ERASE(self._client, self._keys.root(shard), codec.pack_batch(part))
                erased |= {job_id for job_id, reply in zip(part, replies, strict=True) if reply == 1}
                alive |= {job_id for job_id, reply in zip(part, replies, strict=True) if reply == -1}
        return erased, alive

    async def progress(self, job_id: str) -> Any:
        """The job's newest report, or None."""
        with translated():
            packed = await self._client.wire.execute_command(
                "HGET", self._keys.job(self._shards.of(job_id), job_id), "progress"
            )
        return None if packed is None else codec.unpack_any(packed)

    async def entry(self, job_id: str) -> tuple[str, str, bytes] | None:
        """The function, lane and entry of a job that waits in a lane; None for any other. Raises JobNotFound."""
        key = self._keys.job(self._shards.of(job_id), job_id)
        with translated():
            command = ("HMGET", key, "type", "lane", "entry", "status")
            type, lane, entry, status = await self._client.wire.execute_command(*command)
        if type is None:
            raise JobNotFound(job_id)
        return (type.decode(), lane.decode(), entry) if status == b"pending" and entry else None

    async def by_unique(self, shard: int, function: str, digest: str) -> Job:
        """The job that lives under a unique key. Raises JobNotFound."""
        with translated():
            job_id = await self._client.wire.execute_command("GET", self._keys.unique(shard, function, digest))
        if job_id is not None:
            job = await self.get(job_id.decode())
            if not job.settled:
                return job
        raise JobNotFound(f"{function} under this unique key")

    async def listed(
        self,
        wanted: Sequence[str],
        byte_limit: float = float("inf"),
        left_out: Collection[str] = (),
        tries: int = 3,
    ) -> Listed:
        """Those of the jobs that still have a record, without what is large in them.

        `byte_limit`: where it stops, with a part of what was wanted. `left_out`: some of `record.LARGE`, however
        small they are. `tries`: how often a job is read whose status changes between the look at its sizes and the
        reading.
        """
        looks = await self._looks(wanted)
        limits = {name: 0 if name in left_out else limit for name, limit in record.LARGE.items()}
        fits = [[name for name, limit in limits.items() if 0 < look.sizes[name] <= limit] for look in looks]
        read, octets = 0, 0.0
        while read < len(wanted) and octets <= byte_limit:
            octets += _SMALL + sum(looks[read].sizes[name] for name in (*_MIDDLING, *fits[read]))
            read += 1
        rows = await self._fields(wanted[:read], [(*record.SMALL, *names) for names in fits[:read]])
        found = {
            job_id: record.read(job_id, fields, self._settings.lanes, _omitted(look.sizes, limits))
            for job_id, fields, look in zip(wanted, rows, looks, strict=False)
            if look.sizes["payload"]
        }
        changed = [i for i, fields in enumerate(rows) if fields.get(b"status") != looks[i].status]
        if changed and tries > 1:
            again = await self.listed([wanted[i] for i in changed], left_out=left_out, tries=tries - 1)
            found |= {job.id: job for job in again.jobs}
        return Listed([found[job_id] for job_id in wanted[:read] if job_id in found], read, octets)

    async def _fields(self, wanted: Sequence[str], names: Sequence[Sequence[str]]) -> list[dict[bytes, bytes]]:
        """The named fields of each record, if present."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id, fields in zip(wanted, names, strict=True):
                    pipe.hmget(self._keys.job(ids.shard_of(job_id), job_id), ["status", *fields])
                rows = await pipe.execute()
        return [
            {
                name.encode(): value
                for name, value in zip(("status", *fields), row, strict=True)
                if value is not None
            }
            for fields, row in zip(names, rows, strict=True)
        ]

    async def _looks(self, wanted: Sequence[str]) -> list[_Look]:
        """How large each record is."""
        names = (*record.LARGE, *_MIDDLING)
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id in wanted:
                    key = self._keys.job(ids.shard_of(job_id), job_id)
                    pipe.hget(key, "status")
                    for name in names:
                        pipe.hstrlen(key, name)
                replies = await pipe.execute()
        step = len(names) + 1
        parts = [replies[i * step : (i + 1) * step] for i in range(len(wanted))]
        return [_Look(status, dict(zip(names, sizes, strict=True))) for status, *sizes in parts]


def _omitted(sizes: Mapping[str, int], limits: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name, limit in limits.items() if sizes[name] > limit)


def _refusal(verdict: bytes, about: Any) -> Refusal:
    kind: Any = verdict.decode()
    return Refusal(kind, waiting=about) if kind == "full" else Refusal(kind, about.decode())
