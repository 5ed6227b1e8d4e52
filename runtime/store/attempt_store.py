"""Attempts in the store: taking them, holding them, ending them, and recovering those that were lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.attempts import End, Offer, Settlement, Sweep, Swept, Taken, TakeReply
from runtime.store.connect import OVERDUE, Redis, blpop, members, translated
from runtime.store.keys import GROUP, HELD, Keys
from runtime.store.rows import Emitted, Ended, Found, Held, Limit, NewJob, Order, Report, Scan
from runtime.store.thread_client import ThreadClient
from runtime.store.wire import Command
from runtime.values import codec

_PAGE = 500
_STAGED_MS = 3_600_000  # how long staged jobs outlive an attempt that is never ended
_ENDS: dict[int, End] = {0: "lost", 1: "ended", 2: "cancelled"}


class AttemptStore:
    """One worker's view of one shard's lanes."""

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        shard: int,
        worker: str,
        limits: Mapping[str, Limit] | None = None,
    ) -> None:
        """`limits`: by job type."""
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.prefix)
        self._shard = shard
        self._root = self._keys.root(shard)
        self._worker = worker
        self._keep = int(settings.keep * 1000)
        self._lease = int(settings.lease * 1000)
        self._failed = (int(settings.keep_failed * 1000), settings.dead_limit)
        self.limit(limits or {})

    def limit(self, limits: Mapping[str, Limit]) -> None:
        """Replaces the limits, by job type."""
        self._rules = b""
        if limits or self._settings.lane_weights:
            self._rules = codec.pack_batch((limits, self._settings.lane_weights))

    async def take(self, free: int, offer: Offer) -> TakeReply:
        """Takes up to `free` attempts of the offered functions, from the highest lane down."""
        return self._read_reply(
            await scripts.TAKE(self._client, self._root, *self._take_args(free, offer, ahead=0))
        )

    async def hear_and_take(
        self, blocking: Redis, free: int, offer: Offer, timeout: float, ear: str = ""
    ) -> TakeReply:
        """Waits as `hear` does and then takes, in one round trip. `blocking`: a client of this call's own.

        Both commands are sent at once: a server keeps what follows a blocked command of a connection
        until that one is over.
        """
        bells = self._bells(offer.types, ear)
        with translated():
            listen: Command = ("BLPOP", *bells, timeout)
            take = scripts.TAKE.by_sha(self._root, *self._take_args(free, offer, ahead=1))
            _heard, reply = await blocking.wire.call(listen, take, timeout=timeout + OVERDUE)
            if isinstance(reply, NoScriptError):
                return TakeReply([], None, has_more=True)  # the next take brings the script along
            if isinstance(reply, Exception):
                raise reply
        return self._read_reply(reply)

    async def wake(self, ear: str = "") -> None:
        """Ends the `hear` or `hear_and_take` of this worker with that `ear`."""
        (bell,) = self._bells((), ear)
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.rpush(bell, 1)
                pipe.pexpire(bell, 10_000)
                await pipe.execute()

    def _bells(self, functions: Iterable[str], ear: str) -> list[str]:
        """The functions' bells, and one that only this worker's `ear` hears."""
        return [self._keys.bell(self._shard, name) for name in (*functions, f"@{self._worker}{ear}")]

    def _take_args(self, free: int, offer: Offer, *, ahead: int) -> tuple[str | bytes | int, ...]:
        return (self._worker, free, offer.text, self._lease, ahead, self._rules, *self._settings.descending_lanes)

    def _read_reply(self, reply: Any) -> TakeReply:
        now, due_in, has_more, rows = reply
        jobs = []
        for type, lane, entry, id, attempt, payload, max_attempts, created, spared, *rest in rows:  # Started
            taken = Taken(
                type.decode(),
                lane.decode(),
                entry,
                id.decode(),
                attempt,
                payload,
                max_attempts,
                created,
                spared,
                now,
            )
            if rest:
                taken.busy, taken.extras = rest[0].decode(), rest[1]
            jobs.append(taken)
        return TakeReply(jobs, None if due_in < 0 else due_in, has_more == 1)

    async def hear(self, blocking: Redis, functions: Iterable[str], timeout: float, ear: str = "") -> bool:
        """Waits, at most `timeout` seconds, until a job arrives for one of `functions`.

        Each arrival is heard by one waiting worker (BLPOP serves the one that waits longest).
        """
        return await blpop(blocking, self._bells(functions, ear), timeout) is not None

    async def orders(self, blocking: Redis, timeout: float) -> list[tuple[str, int]]:
        """Attempts that this worker is to cancel; waits for them, at most `timeout` seconds."""
        reply = await blpop(blocking, [self._keys.orders(self._shard, self._worker)], timeout)
        if reply is None:
            return []
        order = Order(*codec.unpack(reply[1]))
        return [(order.id, order.attempt)]

    async def settle(self, batch: Sequence[Settlement]) -> list[End]:
        """Ends attempts; "lost" for one that was no longer this worker's, where nothing changed."""
        replies = await scripts.SETTLE(self._client, self._root, *self._settle_args(batch))
        return [_ENDS[reply] for reply in replies]

    def settle_from_thread(self, client: ThreadClient, batch: Sequence[Settlement]) -> None:
        scripts.SETTLE.sync(client, self._root, *self._settle_args(batch))

    def _ended(self, settlement: Settlement) -> tuple[Any, ...]:
        taken = settlement.taken
        # a plain tuple: an Ended takes a microsecond to make, and nearly all are as short as this
        row = (
            taken.id,
            taken.type,
            taken.lane,
            taken.entry,
            taken.attempt,
            settlement.outcome,
            settlement.value,
            settlement.delay,
            self._keep if settlement.keep is None else settlement.keep,
        )
        if settlement.plain:
            return row
        return Ended(
            *row,
            has_extras=bool(taken.extras) or None,
            busy=taken.busy or None,
            children=settlement.children or None,
            after=settlement.after,
            progress=settlement.progress or None,
            staged=settlement.staged or None,
            emitted=settlement.emitted,
        )

    def _settle_args(self, batch: Sequence[Settlement]) -> tuple[str | bytes | int, ...]:
        rows = [self._ended(settlement) for settlement in batch]
        return self._worker, *self._failed, codec.pack_batch(rows), self._settings.crash_limit, self._keep

    async def stage(self, taken: Taken, part: int, jobs: Sequence[NewJob]) -> bool:
        """Keeps a part, from 0, of the jobs that start if an attempt completes.

        False where the attempt is no longer this worker's, or the parts before are gone.
        """
        packed = codec.pack_batch(jobs)
        args = (self._worker, taken.id, taken.attempt, part, packed, _STAGED_MS)
        return bool(await scripts.STAGE(self._client, self._root, *args))

    async def start(self, job_id: str) -> int:
        """Starts a part of what a completed job has staged; returns how many are left."""
        left: int = await scripts.START(self._client, self._root, job_id)
        return left

    async def progress(self, batch: Sequence[tuple[Taken, bytes]]) -> None:
        rows = [Report(taken.id, taken.type, taken.attempt, progress) for taken, progress in batch]
        await scripts.PROGRESS(self._client, self._root, self._worker, codec.pack_batch(rows))

    async def emit(self, batch: Sequence[Emitted]) -> None:
        """Keeps what attempts emitted and logged; what is kept already is not kept twice."""
        await scripts.EMIT(self._client, self._root, self._worker, self._keep, codec.pack_batch(batch))

    def stay_alive(self, client: ThreadClient) -> None:
        """Marks this worker as alive for one lease, from a thread: takes sent ahead are served meanwhile."""
        with client.at(self._root) as server:
            server.set(self._keys.alive(self._shard, self._worker), 1, px=self._lease)

    def held(self, client: ThreadClient) -> list[Taken]:
        """What the store lists as this worker's, including attempts it has not read yet; from a thread."""
        found: list[Taken] = []
        with client.at(self._root) as server:
            names = {name.decode().partition(":")[::2] for name in server.sscan_iter(self._keys.lanes(self._shard))}
            for function, lane in sorted(names):
                found += self._held_in(server, function, lane)
        return found

    def _held_in(self, server: Any, function: str, lane: str) -> Iterator[Taken]:
        key, start = self._keys.lane(self._shard, function, lane), "-"
        while True:
            try:
                pending = server.xpending_range(key, GROUP, start, "+", _PAGE, HELD)
            except ResponseError:  # its group does not exist yet
                return
            for entry in (row["message_id"] for row in pending):
                for _, fields in server.xrange(key, entry, entry, count=1):
                    taken = self._taken_by_me(server, function, lane, entry, fields[b"job"].decode())
                    if taken is not None:
                        yield taken
                start = f"({entry.decode()}"
            if len(pending) < _PAGE:
                return

    def _taken_by_me(self, server: Any, function: str, lane: str, entry: bytes, job_id: str) -> Taken | None:
        names = ("worker", "attempt", "max_attempts", "created", "spared", "started", "busy", "extras")
        worker, *numbers, busy, extras = server.hmget(self._keys.job(self._shard, job_id), names)
        if worker is None or worker.decode() != self._worker:
            return None
        attempt, max_attempts, created, spared, started = (int(number or 0) for number in numbers)
        packed = (busy or b"").decode(), extras or b""
        return Taken(function, lane, entry, job_id, attempt, b"", max_attempts, created, spared, started, *packed)

    def fall_silent(self, client: ThreadClient) -> None:
        """From now on takes sent ahead get nothing; from a thread."""
        with client.at(self._root) as server:
            server.delete(self._keys.alive(self._shard, self._worker))

    async def take_no_more(self) -> None:
        """The same for a worker that leaves: the server may serve a take whose connection is closed already."""
        with translated():
            await self._client.wire.execute_command("DEL", self._keys.alive(self._shard, self._worker))

    def renew(self, client: ThreadClient, held: Sequence[Taken]) -> tuple[list[Taken], list[Taken]]:
        """Extends leases, from a thread; returns the attempts that are no longer this worker's, and those
        that are to be cancelled."""
        rows = [Held(taken.id, taken.type, taken.lane, taken.entry, taken.attempt) for taken in held]
        lost, cancelled = scripts.RENEW.sync(client, self._root, self._worker, codec.pack_batch(rows))
        return [held[index - 1] for index in lost], [held[index - 1] for index in cancelled]

    async def names(self) -> list[tuple[str, str]]:
        """Each (function, lane) that has or had a stream in this shard."""
        names = await members(self._client, self._keys.lanes(self._shard))
        return [(function, lane) for function, _, lane in (name.partition(":") for name in names)]

    async def reclaim(self, lanes: Sequence[Scan], lock_ms: int) -> Sweep | None:
        """Hands back what lost workers held in `lanes`, and fails what expired.

        None while another worker does this.
        """
        settings = self._settings
        args = (
            lock_ms,
            self._lease,
            settings.crash_limit,
            self._keep,
            *self._failed,
            codec.pack_batch(lanes),
        )
        reply = await scripts.RECLAIM(self._client, self._root, self._worker, *args)
        if reply is None:
            return None
        cursors, rows, starting = reply
        swept = [
            Swept(
                row.id.decode(),
                row.type.decode(),
                row.lane.decode(),
                row.attempt,
                row.worker.decode(),
                row.verdict.decode(),
            )
            for row in (Found(*packed) for packed in rows)
        ]
        return Sweep([cursor.decode() for cursor in cursors], swept, [job_id.decode() for job_id in starting])
