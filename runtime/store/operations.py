"""What people do to jobs and queues: cancel, move, pause and resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Sequence
from typing import Any, Literal, cast

from runtime.errors import JobNotFound, StatusConflict
from runtime.jobs import tags
from runtime.jobs.job import SETTLED
from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.connect import Redis, members, translated
from runtime.store.keys import Keys
from runtime.store.record import shown_status
from runtime.values import codec
from runtime.values.shards import Shards

_ORDERS_MS = 60_000  # a worker that has not read them by then is gone, or learns of them with its leases

_STOPPING = 0.05  # seconds between looks at attempts that are being stopped
_PART = 200  # jobs that one script call cancels: some 10 ms


class Operations:
    """Changes by hand, in all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._shards = Shards(settings.shards)

    async def cancel(self, job_id: str) -> bool:
        """Whether the job is cancelled now; False while its attempt is being stopped.

        Raises JobNotFound, and StatusConflict for a job that has settled.
        """
        root = self._root(job_id)
        keep = int(self._settings.keep * 1000)
        (status,) = await scripts.CANCEL(self._client, root, codec.pack_batch([job_id]), keep, _ORDERS_MS)
        if status is None:
            raise JobNotFound(job_id)
        if (shown := shown_status(status)) in SETTLED:
            raise StatusConflict(f"the job is {shown} and cannot be cancelled any more")
        return bool(status not in (b"running", b"cancelling"))

    async def cancel_tree(self, job_id: str, fits: Callable[[str], bool]) -> AsyncIterator[int]:
        """Cancels what has not settled of a job and all that it has started, of types that fit; yields how many in
        each part. Goes over the tree again until nothing is left: what is cancelled may let others start.

        Raises JobNotFound.
        """
        shard = self._shards.of(job_id)
        cancelled: set[bytes] = set()
        found = True
        while found:
            found, stopping, level = False, False, [job_id.encode()]
            while level:
                part, level = level[:_PART], level[_PART:]
                rows = await self._looked_at(shard, part)
                if part == [job_id.encode()] and rows[0][0] is None:
                    raise JobNotFound(job_id)
                level += [child for *_, children in rows for child in codec.unpack_stream(children or b"")]
                living = [
                    own_id
                    for own_id, (status, type, _) in zip(part, rows, strict=True)
                    if status is not None
                    and status.decode() not in (*SETTLED, "cancelling")
                    and own_id not in cancelled
                    and fits(type.decode())
                ]
                stopping = stopping or any(status == b"cancelling" for status, *_ in rows)
                if not living:
                    yield 0
                else:
                    args = (codec.pack_batch(living), int(self._settings.keep * 1000), _ORDERS_MS)
                    await scripts.CANCEL(self._client, self._keys.root(shard), *args)
                    cancelled.update(living)
                    found = True
                    yield len(living)
            if stopping and not found:  # what their end lets start is part of the tree too
                found = True
                await asyncio.sleep(_STOPPING)

    async def _looked_at(self, shard: int, part: list[bytes]) -> list[Any]:
        """Status, type and packed children of each; they lie in its shard."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id in part:
                    pipe.hmget(self._keys.job(shard, job_id.decode()), ["status", "type", "children"])
                return await pipe.execute()

    async def cancel_tagged(
        self, tag: str, statuses: Container[str], fits: Callable[[str], bool], *, dry_run: bool
    ) -> AsyncIterator[tuple[int, int]]:
        """Cancels a tag's jobs that have one of these statuses, of types that fit; yields how many have it, and how
        many were cancelled or told to stop, in each part."""
        keep, orders_ms = int(self._settings.keep * 1000), _ORDERS_MS if "running" in statuses else 0
        for shard in range(self._settings.shards):
            with translated():  # those that live come last, and are few beside what has settled
                key = self._keys.tag(shard, tags.digest(tag))
                living = await cast("Any", self._client.zrange(key, "+inf", "+inf", byscore=True))
            for start in range(0, len(living), _PART):
                part = living[start : start + _PART]
                rows = await self._looked_at(shard, part)
                fitting = [
                    job_id
                    for job_id, (status, type, _) in zip(part, rows, strict=True)
                    if status is not None and shown_status(status) in statuses and fits(type.decode())
                ]
                cancelled = 0
                if fitting and not dry_run:
                    args = (codec.pack_batch(fitting), keep, orders_ms)
                    replies = await scripts.CANCEL(self._client, self._keys.root(shard), *args)
                    cancelled = sum(shown_status(status) in statuses for status in replies if status is not None)
                yield len(fitting), cancelled

    async def clear(self, function: str, status: Literal["pending", "scheduled"]) -> AsyncIterator[int]:
        """Cancels a function's waiting jobs, a part at a time; yields how many in each part."""
        for shard in range(self._settings.shards):
            ids = self._waiting(shard, function) if status == "pending" else self._scheduled(shard, function)
            async for part in ids:
                args = (codec.pack_batch(part), int(self._settings.keep * 1000), 0)
                replies = await scripts.CANCEL(self._client, self._keys.root(shard), *args)
                yield replies.count(status.encode())

    async def _waiting(self, shard: int, function: str) -> AsyncIterator[list[bytes]]:
        """The ids of jobs in the function's lanes; some may be running."""
        for lane in self._settings.lanes:
            start = "-"
            while True:
                with translated():
                    key = self._keys.lane(shard, function, lane)
                    entries = await cast("Any", self._client.xrange(key, start, "+", count=_PART))
                if entries:
                    yield [fields[b"job"] for _, fields in entries]
                if len(entries) < _PART:
                    break
                start = f"({entries[-1][0].decode()}"

    async def _scheduled(self, shard: int, function: str) -> AsyncIterator[list[bytes]]:
        """The ids of the function's jobs that wait for their time."""
        start = 0
        while True:
            with translated():
                found = await cast("Any", self._client.zrange(self._keys.due(shard), start, start + _PART - 1))
                async with self._client.pipeline(transaction=False) as pipe:
                    for job_id in found:
                        pipe.hget(self._keys.job(shard, job_id.decode()), "type")
                    types = await pipe.execute()
            own = [job_id for job_id, type in zip(found, types, strict=True) if type == function.encode()]
            if own:
                yield own
            if len(found) < _PART:
                return
            start += len(found) - len(own)  # cancelled jobs have left the set

    async def move(self, job_id: str, *, run_at: int | None = None, delay: int = 0) -> None:
        """Lets a scheduled job start at `run_at` (Unix ms), or `delay` ms from now; a past time means now.

        Raises JobNotFound, and StatusConflict for a job that is not scheduled.
        """
        at = "" if run_at is None else run_at
        status = await scripts.MOVE(self._client, self._root(job_id), job_id, at, delay)
        if status is None:
            raise JobNotFound(job_id)
        if status != b"scheduled":
            raise StatusConflict(f"the job is {shown_status(status)}; only a scheduled one can be moved")

    async def pause(self, what: Sequence[str]) -> None:
        """`*` for everything, `function:NAME` or `lane:NAME`; running jobs finish, new ones wait.

        Raises StatusConflict where 1,000 names are paused.
        """
        await self._switch("pause", what)

    async def resume(self, what: Sequence[str]) -> None:
        """Ends a pause; waiting jobs start at once."""
        await self._switch("resume", what)

    async def paused(self) -> list[str]:
        return await members(self._client, self._keys.paused(0))

    async def _switch(self, verb: str, what: Sequence[str]) -> None:
        lanes = ",".join(self._settings.lanes)
        for shard in range(self._settings.shards):
            if await scripts.PAUSE(self._client, self._keys.root(shard), verb, lanes, *what) is None:
                raise StatusConflict("1,000 functions and lanes are paused: resume some, or pause everything")

    def _root(self, job_id: str) -> str:
        return self._keys.root(self._shards.of(job_id))
