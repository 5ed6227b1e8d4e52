"""Jobs as records: storing and reading them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from runtime.errors import JobNotFound
from runtime.jobs.job import Job
from runtime.settings import Settings
from runtime.store import record, scripts
from runtime.store.connect import Redis, durably, ping, translated
from runtime.store.keys import Keys
from runtime.store.rows import NewJob
from runtime.values import codec, ids


class Refusal(NamedTuple):
    """Why a job was not stored, and the id of the job that is there already.

    known: its idempotency key has been there with the same request. differs: the key stands for another
    request. twin: an equal job lives. full: so many jobs of the function wait already.
    """

    verdict: Literal["known", "differs", "twin", "full"]
    other: str = ""
    waiting: int = 0


class Some(NamedTuple):
    """Jobs as lists show them; `read` is how many of those that were wanted this tells of, `octets` their size."""

    jobs: list[Job]
    read: int
    octets: float


class Jobs:
    """The jobs of all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._log_ms = int(settings.keep * 1000)
        self._key_ms = int(settings.keep_keys * 1000)
        self._lanes = ",".join(settings.lanes)
        self._durable = settings.durable

    async def ping(self) -> None:
        """Raises StoreUnavailable unless the server answers."""
        await ping(self._client)

    async def try_write(self) -> None:
        """Raises StoreUnavailable where the server takes no writes: a replica, or one at its maxmemory."""
        with translated():
            await self._client.set(self._keys.probe, 1, px=1000)

    async def enqueue(self, batch: Sequence[NewJob]) -> tuple[int, dict[str, Refusal]]:
        """Stores jobs; returns Redis' time of it (Unix ms), and those that were refused by their ids.

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
        for told in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(told, BaseException):
                raise told
            now = told[0]
            refused |= told[1]
        return now, refused

    async def _store(self, shard: int, jobs: Sequence[NewJob]) -> tuple[int, dict[str, Refusal]]:
        root = self._keys.root(shard)
        args = (codec.pack_batch(jobs), self._log_ms, self._key_ms, self._lanes)
        if self._durable:
            now, rows = await durably(self._client, scripts.ENQUEUE, root, *args)
        else:
            now, rows = await scripts.ENQUEUE(self._client, root, *args)
        return now, {jobs[index - 1].id: _refusal(verdict, about) for index, verdict, about in rows}

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        if not ids.is_id(job_id) or ids.shard_of(job_id) >= self._settings.shards:
            raise JobNotFound(job_id)
        with translated():
            fields = await cast("Any", self._client.hgetall(self._keys.job(ids.shard_of(job_id), job_id)))
        if b"payload" not in fields:
            raise JobNotFound(job_id)
        return record.read(job_id, fields, self._settings.lanes)

    async def some(self, wanted: Sequence[str], most: float = float("inf")) -> Some:
        """Those of the jobs that still have a record, without what is large in them.

        `most`: bytes after which it stops, with a part of what was wanted.
        """
        records, sizes = await self._fields(wanted, [record.SMALL] * len(wanted)), await self._sizes(wanted)
        fits = [[name for name, size in sized.items() if 0 < size <= record.LARGE[name]] for sized in sizes]
        read, octets = 0, 0.0
        while read < len(wanted) and octets <= most:
            octets += sum(map(len, records[read].values())) + sum(sizes[read][name] for name in fits[read])
            read += 1
        large = await self._fields(wanted[:read], fits[:read])
        jobs = [
            record.read(job_id, fields | large_fields, self._settings.lanes, _omitted(sized))
            for job_id, fields, sized, large_fields in zip(wanted, records, sizes, large, strict=False)
            if sized["payload"]
        ]
        return Some(jobs, read, octets)

    async def _fields(self, wanted: Sequence[str], names: Sequence[Sequence[str]]) -> list[dict[bytes, bytes]]:
        """The fields so named of each record, as far as it has them."""
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

    async def _sizes(self, wanted: Sequence[str]) -> list[dict[str, int]]:
        """Bytes of each record's large fields."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id, name in itertools.product(wanted, record.LARGE):
                    pipe.hstrlen(self._keys.job(ids.shard_of(job_id), job_id), name)
                sizes = await pipe.execute()
        step = len(record.LARGE)
        return [dict(zip(record.LARGE, sizes[i * step :], strict=False)) for i in range(len(wanted))]


def _omitted(sizes: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name, size in sizes.items() if size > record.LARGE[name])


def _refusal(verdict: bytes, about: Any) -> Refusal:
    kind: Any = verdict.decode()
    return Refusal(kind, waiting=about) if kind == "full" else Refusal(kind, about.decode())
