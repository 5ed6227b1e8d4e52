"""What is deployed and who is alive: functions as workers publish them, and workers by heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, TypeVar, cast

from runtime.errors import LaneUnknown
from runtime.handlers.policy import Bounds
from runtime.handlers.spec import Spec
from runtime.settings import Settings
from runtime.store.connect import Redis, translated
from runtime.store.keys import Keys
from runtime.store.server_check import agreed
from runtime.values import codec

HEARTBEAT = 3.0
ALIVE_MS = 15_000
Published = TypeVar("Published", "Deployed", "WorkerInfo")


@dataclass(frozen=True, slots=True)
class Deployed(Bounds):
    """A function as the gateway knows it. `broken`: the traceback of a module that did not load."""

    name: str
    lane: str
    timeout: float
    max_attempts: int
    doc: str
    schema: dict[str, Any]
    serves: str
    broken: str | None = None
    note: str | None = None  # what is wrong with it although it runs
    schedules: list[tuple[str, str, Any]] = field(default_factory=list)  # cron, time zone and payload of each
    returns: dict[str, Any] = field(default_factory=dict)
    isolation: str = ""
    memory: int | None = None
    version: str = ""
    hook: list[str] | None = None  # the scheme by which providers sign, and what names its secret

    @property
    def pinned(self) -> bool:
        """Whether all its jobs lie in one shard, because a limit counts them."""
        return bool(self.concurrency or self.rate or self.max_waiting or self.unique)


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as it last reported itself. `functions`: their versions by job type. `started_at`: Unix
    milliseconds. `broken`: the tracebacks of modules that it cannot load."""

    id: str
    functions: dict[str, str]
    concurrency: int
    processes: int
    started_at: int
    metrics: str
    broken: dict[str, str]


class Answer(NamedTuple):
    """To a heartbeat. `missing`: those of the worker's functions that are not published. `workers`: how many there
    are."""

    missing: list[str]
    workers: int


def describe(name: str, function: Spec, settings: Settings) -> Deployed:
    """`name`: the function's own, or one of its aliases."""
    policy = function.policy
    note = None
    try:
        lane = settings.lane(policy.lane)
    except LaneUnknown as error:
        lane, note = settings.default_lane, f"{error}; its jobs go to {settings.default_lane}"
    return Deployed(
        name,
        lane,
        policy.timeout,
        policy.retry.max_attempts,
        function.doc,
        function.schema,
        function.name,
        note=note,
        schedules=[(s.cron, s.timezone, s.payload) for s in policy.schedules] if name == function.name else [],
        **{bound.name: getattr(policy, bound.name) for bound in fields(Bounds)},
        returns=function.returns,
        isolation=function.isolation,
        memory=policy.memory,
        version=function.version,
        hook=None if function.hook is None else [*function.hook],
    )


def describe_broken(name: str, traceback: str, settings: Settings) -> Deployed:
    return Deployed(name, settings.default_lane, 0.0, 1, "", {}, name, traceback)


class Registry:
    """Functions and workers of all shards."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._keys = Keys(settings.prefix)
        self._agreed = agreed(settings)

    async def publish(self, deployed: Sequence[Deployed]) -> None:
        """Publishes what this worker has; a broken module replaces none that works elsewhere, or worked before."""
        known = await self.functions()
        changed = {
            d.name: codec.pack(asdict(d))
            for d in deployed
            if d.broken is None or d.name not in known or known[d.name].broken is not None
        }
        if changed:
            with translated():
                await cast("Any", self._client.hset(self._keys.functions, mapping=cast("Any", changed)))

    async def withdraw(self, names: Sequence[str]) -> None:
        """Forgets functions that no living worker has."""
        had = {name for worker in await self.workers() for name in (*worker.functions, *worker.broken)}
        gone = [name for name in names if name not in had]
        if gone:
            with translated():
                await cast("Any", self._client.hdel(self._keys.functions, *gone))

    async def restore(self, deployed: Sequence[Deployed]) -> bool:
        """Publishes functions again if the server has lost its data; returns whether it had.

        What workers have published since takes precedence.
        """
        with translated():
            if await self._client.exists(self._keys.config):
                return False
            async with self._client.pipeline(transaction=False) as pipe:
                for function in deployed:
                    pipe.hsetnx(self._keys.functions, function.name, codec.pack(asdict(function)))
                for name, value in self._agreed.items():  # as the first process writes them down
                    pipe.hsetnx(self._keys.config, name, value)
                await pipe.execute()
        return True

    async def functions(self) -> dict[str, Deployed]:
        with translated():
            stored = await cast("Any", self._client.hgetall(self._keys.functions))
        return {name.decode(): _read(Deployed, packed) for name, packed in sorted(stored.items())}

    async def beat(self, worker: WorkerInfo) -> Answer:
        """Marks a worker as alive for the next 15 s."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.set(self._keys.worker(worker.id), codec.pack(asdict(worker)), px=ALIVE_MS)
                pipe.zadd(self._keys.workers, {worker.id: worker.started_at})
                pipe.zcard(self._keys.workers)
                pipe.hkeys(self._keys.functions)
                *_, workers, found = await pipe.execute()
        names = set(found)
        return Answer([name for name in worker.functions if name.encode() not in names], workers)

    async def leave(self, worker: str) -> None:
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.delete(self._keys.worker(worker))
                pipe.zrem(self._keys.workers, worker)
                await pipe.execute()

    async def workers(self) -> list[WorkerInfo]:
        with translated():
            names = await cast("Any", self._client.zrange(self._keys.workers, 0, 9999))
            if not names:
                return []
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:  # MGET would have to find all in one node
                    pipe.get(self._keys.worker(name.decode()))
                stored = await pipe.execute()
        gone = [name for name, packed in zip(names, stored, strict=True) if packed is None]
        if gone:  # killed; one that was merely silent comes back with its next beat
            with translated():
                await self._client.zrem(self._keys.workers, *gone)
        return [_read(WorkerInfo, packed) for packed in stored if packed is not None]


def _read(kind: type[Published], packed: bytes) -> Published:
    """What a process published; a later version may publish more fields."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in codec.unpack(packed).items() if name in known})
