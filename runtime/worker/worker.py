"""A worker: what its roles are, and how they start and leave together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from runtime import durations, log, metrics
from runtime.children.pool import Pool
from runtime.contracts import Contracts
from runtime.discovery import Catalogue
from runtime.errors import LaneUnknown, StoreUnavailable
from runtime.intake import Intake
from runtime.service import keep_going
from runtime.settings import Settings
from runtime.store.attempts import Limit, Taken
from runtime.store.connect import OVERDUE, Redis, check_server, connect
from runtime.store.jobs import Jobs
from runtime.store.lanes import Lanes
from runtime.store.registry import Registry
from runtime.store.schedules import Schedules
from runtime.store.stats import Stats
from runtime.upkeep.cron import Ticker
from runtime.upkeep.reclaim import Sweeper
from runtime.worker.announce import Announcer
from runtime.worker.attempt import Attempt, Runner
from runtime.worker.deploy import WATCH_EVERY, Deployer
from runtime.worker.group import Group
from runtime.worker.leases import Leases
from runtime.worker.orders import Orders
from runtime.worker.reader import LISTEN
from runtime.worker.settler import Settler
from runtime.worker.slots import Slots
from runtime.worker.threads import Threads

_SILENT = LISTEN + 2 * OVERDUE
_LET_GO = 5.0  # seconds for attempts that were cancelled, and for killing those that do not heed it


class Worker:
    """Runs the functions of a folder, or of a catalogue, until told to stop."""

    def __init__(self, settings: Settings, catalogue: Catalogue | None = None) -> None:
        """Without a `catalogue`: those of the functions folder, which is followed as it changes."""
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.metrics = ""
        self.stuck = False  # after `run`: whether threads that ignore `ctx.cancelled` are still at work
        self._settings = settings
        self._given = catalogue
        self._log = log.get("worker").bind(worker=self.id)
        self.started = asyncio.Event()
        self._stop = asyncio.Event()
        self._deployer: Deployer | None = None
        self._behind = False  # whether the folder has changed and not everybody knows
        self._roles: list[asyncio.Task[None]] = []

    @property
    def trouble(self) -> str | None:
        """Why it cannot be working: a role has ended, or Redis has not answered its reader for too long."""
        if not self._roles or not self._leases.alive:
            return "it is starting or leaving"
        if ended := [role.get_name() for role in self._roles if role.done()]:
            return f"a role has ended: {', '.join(ended)}"
        silent = max(reader.silent for group in self._groups for reader in group.readers)
        return f"Redis has not answered for {silent:.0f} s" if silent > _SILENT else None

    def stop(self) -> None:
        """Take no more, let what runs finish within the grace, hand the rest back, and leave."""
        self._stop.set()

    async def run(self) -> None:
        """Raises StoreError where the server cannot serve at the start, FunctionInvalid, FunctionUnknown."""
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._pool = Pool(settings)
        self._threads = Threads(settings.concurrency)
        client, blocking = connect(settings), connect(settings, timeout=None)
        try:
            await self._deploy()
            await self._await_server(client)
            if self._stop.is_set():
                return
            self._assemble(client, blocking)
            self._leases.start()
            try:
                catalogue = self._given if self._deployer is None else self._deployer.catalogue
                assert catalogue is not None
                await self._serve(catalogue)
                self.started.set()
                told = {"concurrency": settings.concurrency, "processes": settings.processes}
                self._log.info("worker.started", functions=sorted(catalogue.functions), **told)
                grace = 0.0  # for a worker that fails, or whose task is cancelled
                try:
                    await self._work()
                    grace = settings.grace
                finally:
                    await self._leave(grace)
            finally:
                await asyncio.to_thread(self._leases.stop)
                for group in self._groups:
                    await group.close()
        finally:
            if self._deployer is not None:
                await self._deployer.close()
            await self._pool.close()
            self.stuck = not self._threads.close()
            await client.aclose()
            await blocking.aclose()

    async def _deploy(self) -> None:
        if self._given is not None:
            _refuse_unknown_lanes(self._given, self._settings)
            return
        self._deployer = Deployer(self._settings, self._pool)
        await self._deployer.start()

    async def _await_server(self, client: Redis) -> None:
        """Until the server answers or the worker is told to stop. Raises StoreError where it cannot serve."""
        told = False
        while not self._stop.is_set():
            try:
                await check_server(client, self._settings)
                return
            except StoreUnavailable as error:
                if not told:
                    self._log.warning("store.awaited", error=str(error))
                told = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.5)

    def _assemble(self, client: Redis, blocking: Redis) -> None:
        settings = self._settings
        self._lanes = {shard: Lanes(client, settings, shard, self.id) for shard in range(settings.shards)}
        self._settler = Settler(self._lanes, debug=settings.log_level == "debug")
        jobs, registry = Jobs(client, settings), Registry(client, settings)
        intake = Intake(Contracts(registry), jobs, settings)
        runner = Runner(self._threads, self._pool, intake, settings, self._report)
        most = settings.concurrency + settings.processes
        metrics.set_slots(most)
        loop = Slots(settings.concurrency, 2 * most, runner, self._settler)
        process = Slots(settings.processes, 2 * most, runner, self._settler, lambda: self._pool.turns.ahead)
        self._groups = [
            Group(name, slots, self._lanes, settings) for name, slots in (("loop", loop), ("process", process))
        ]
        self._slots = self._groups[0].slots  # for what concerns attempts of any group
        self._leases = Leases(self._lanes, self._settler.held, settings, self._lose, self._cancel)
        self._sweepers = [Sweeper(lanes, settings) for lanes in self._lanes.values()]
        self._orders = [Orders(lanes, blocking, self._slots.cancel) for lanes in self._lanes.values()]
        self._ticker = Ticker(Schedules(client, settings, jobs), intake, settings)
        self._announcer = Announcer(self.id, registry, Stats(client, settings), settings)
        self._announcer.metrics = self.metrics

    async def _serve(self, catalogue: Catalogue) -> None:
        """From now on the functions of this catalogue. Raises StoreError."""
        await self._announcer.publish(catalogue)
        limits = _limits(catalogue)
        for lanes in self._lanes.values():
            lanes.limit(limits)
        own = {name: fn for name, fn in catalogue.functions.items() if name == fn.name}
        self._ticker.follow({name: fn.policy.schedules for name, fn in own.items() if fn.policy.schedules})
        for group in self._groups:
            in_processes = group.name == "process"
            await group.serve(
                {
                    name: fn
                    for name, fn in catalogue.functions.items()
                    if (fn.isolation == "process") == in_processes
                }
            )

    async def _watch(self) -> float:
        """A step: follows the folder."""
        assert self._deployer is not None
        if await self._deployer.look() or self._behind:
            self._behind = True
            await self._serve(self._deployer.catalogue)
            self._behind = False
        return WATCH_EVERY

    async def _work(self) -> None:
        """Until `stop`, or until a role fails: then the worker fails with it. Nothing is taken afterwards."""
        readers = [self._role("reader", reader.step) for group in self._groups for reader in group.readers]
        others = [self._role("upkeep", sweeper.step) for sweeper in self._sweepers]
        others += [self._role("orders", orders.step) for orders in self._orders]
        others.append(self._role("heartbeat", self._announcer.beat))
        others.append(self._role("cron", self._ticker.step))
        if self._deployer is not None and self._settings.watch:
            others.append(self._role("watch", self._watch))
        self._roles = [*readers, *others]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*self._roles, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended([*readers, stopping])
        for role in done - {stopping}:
            self._log.error("worker.failed", role=role.get_name())
            role.result()

    async def _leave(self, grace: float) -> None:
        """Lets what runs finish within `grace` seconds, and hands back the rest."""
        running = sum(group.slots.running for group in self._groups)
        self._log.info("worker.leaving", running=running, grace=grace)
        finished = await self._idle_within(grace)
        released = 0 if finished else self._slots.release_all()
        await self._idle_within(_LET_GO)
        unsettled = await self._settler.drained(5.0)
        await _ended(self._roles)
        await self._announcer.leave()
        self._log.info("worker.left", finished=running - released, released=released, unsettled=unsettled)

    async def _idle_within(self, seconds: float) -> bool:
        return all(await asyncio.gather(*(group.slots.wait_idle(seconds) for group in self._groups)))

    def _role(self, name: str, step: Callable[[], Awaitable[float]]) -> asyncio.Task[None]:
        return asyncio.create_task(keep_going(name, step), name=name)

    def _report(self, attempt: Attempt, progress: dict[str, Any]) -> None:
        if threading.get_ident() == self._loop_thread:
            self._settler.progress(attempt, progress)
        else:
            self._loop.call_soon_threadsafe(self._settler.progress, attempt, progress)

    def _lose(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self._slots.lose, taken)

    def _cancel(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self._slots.cancel, taken.id, taken.attempt)


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and returns once they have ended, however."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _refuse_unknown_lanes(catalogue: Catalogue, settings: Settings) -> None:
    for name, function in list(catalogue.functions.items()):
        try:
            settings.lane(function.policy.lane)
        except LaneUnknown as error:
            del catalogue.functions[name]
            catalogue.broken[name] = str(error)


def _limits(catalogue: Catalogue) -> dict[str, Limit]:
    """What holds jobs back, by their type; all names of a function share its limit."""
    limits = {}
    for name, function in catalogue.functions.items():
        policy = function.policy
        if policy.concurrency is not None or policy.rate is not None:
            every, burst = (0.0, 1) if policy.rate is None else durations.rate(policy.rate)
            keyed = int(policy.concurrency_key is not None)
            limits[name] = Limit(function.name, policy.concurrency or 0, keyed, round(every * 1e6), burst)
    return limits
