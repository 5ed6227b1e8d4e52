"""A worker: what its roles are, and how they start and leave together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Coroutine
from typing import Any

from runtime import durations, log
from runtime.clock import now_ms
from runtime.contracts import Contracts
from runtime.discovery import Catalogue
from runtime.errors import LaneUnknown, StoreError, StoreUnavailable
from runtime.intake import Intake
from runtime.service import keep_going
from runtime.settings import Settings
from runtime.store.connect import OVERDUE, Redis, check_server, connect
from runtime.store.jobs import Jobs
from runtime.store.lanes import Lanes, Limit, Taken
from runtime.store.registry import HEARTBEAT, Registry, WorkerInfo, describe, describe_broken
from runtime.store.schedules import Schedules
from runtime.upkeep.cron import Ticker
from runtime.upkeep.reclaim import Sweeper
from runtime.worker.attempt import Attempt, Runner
from runtime.worker.execute import Threads
from runtime.worker.leases import Leases
from runtime.worker.orders import Orders
from runtime.worker.reader import LISTEN, Reader
from runtime.worker.settler import Settler
from runtime.worker.slots import Slots

_SILENT = LISTEN + 2 * OVERDUE


class Worker:
    """Runs the functions of a catalogue until told to stop."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.metrics = ""
        self.stuck = False  # after `run`: whether threads that ignore `ctx.cancelled` are still at work
        self._settings = settings
        self._catalogue = catalogue
        self._log = log.get("worker").bind(worker=self.id)
        self.started = asyncio.Event()
        self._stop = asyncio.Event()
        self._started_at = now_ms()
        self._roles: list[asyncio.Task[None]] = []

    @property
    def trouble(self) -> str | None:
        """Why it cannot be working: a role has ended, or Redis has not answered its reader for too long."""
        if not self._roles or not self._leases.alive:
            return "it is starting or leaving"
        if ended := [role.get_name() for role in self._roles if role.done()]:
            return f"a role has ended: {', '.join(ended)}"
        silent = max(reader.silent for reader in self._readers)
        return f"Redis has not answered for {silent:.0f} s" if silent > _SILENT else None

    def stop(self) -> None:
        """Take no more, let what runs finish within the grace, hand the rest back, and leave."""
        self._stop.set()

    async def run(self) -> None:
        """Raises StoreError where the server cannot serve at the start."""
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        client = connect(settings)
        blocking = connect(settings, timeout=None)
        try:
            await self._await_server(client)
            if self._stop.is_set():
                return
            self._registry = Registry(client, settings)
            await self._publish()
            self._assemble(client, blocking)
            self._leases.start()
            try:
                await self._work()
                await self._leave()
            finally:
                self._leases.stop()
                self.stuck = not self._executor.close()
        finally:
            await client.aclose()
            await blocking.aclose()

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
        settings, served = self._settings, tuple(self._catalogue.functions)
        limits = _limits(self._catalogue)
        self._lanes = {shard: Lanes(client, settings, shard, self.id, limits) for shard in range(settings.shards)}
        self._settler = Settler(self._lanes, debug=settings.log_level == "debug")
        self._executor = Threads(settings.concurrency)
        jobs = Jobs(client, settings)
        intake = Intake(Contracts(self._registry), jobs, settings)
        runner = Runner(self._catalogue, self._executor, intake, settings, self._report)
        self._slots = Slots(settings.concurrency, runner, self._settler)
        self._leases = Leases(self._lanes, self._settler.held, settings, self._lose, self._cancel)
        self._readers = [
            Reader(lanes, blocking, self._slots, served, alone=len(self._lanes) == 1)
            for lanes in self._lanes.values()
        ]
        self._sweepers = [Sweeper(lanes, settings) for lanes in self._lanes.values()]
        self._orders = [Orders(lanes, blocking, self._slots.cancel) for lanes in self._lanes.values()]
        scheduled = {
            name: fn.policy.schedules
            for name, fn in self._catalogue.functions.items()
            if name == fn.name and fn.policy.schedules
        }
        self._ticker = Ticker(Schedules(client, settings, jobs), intake, settings, scheduled)

    async def _publish(self) -> None:
        catalogue, settings = self._catalogue, self._settings
        deployed = []
        for name, function in list(catalogue.functions.items()):
            try:
                deployed.append(describe(name, function, settings))
            except LaneUnknown as error:
                del catalogue.functions[name]
                catalogue.broken[name] = str(error)
        for name, traceback in catalogue.broken.items():
            self._log.error("function.broken", function=name, traceback=traceback)
            deployed.append(describe_broken(name, traceback, settings))
        await self._registry.publish(deployed)
        await self._beat()
        self.started.set()
        self._log.info("worker.started", functions=sorted(catalogue.functions), concurrency=settings.concurrency)

    async def _work(self) -> None:
        """Until `stop`, or until a role fails: then the worker fails with it."""
        readers = [self._role("reader", keep_going("reader", reader.step)) for reader in self._readers]
        others = [self._role("upkeep", keep_going("upkeep", sweeper.step)) for sweeper in self._sweepers]
        others += [self._role("orders", keep_going("orders", orders.step)) for orders in self._orders]
        others.append(self._role("heartbeat", keep_going("heartbeat", self._beat)))
        others.append(self._role("cron", keep_going("cron", self._ticker.step)))
        self._roles = [*readers, *others]
        stopping = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([*readers, *others, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (*readers, stopping):
            task.cancel()
        await asyncio.wait([*readers, stopping])
        self._others = others
        if stopping not in done:
            self._log.error("worker.failed", role=next(iter(done)).get_name())
            for task in done:
                task.result()

    async def _leave(self) -> None:
        settings = self._settings
        running = settings.concurrency - self._slots.free
        self._log.info("worker.leaving", running=running, grace=settings.grace)
        finished = await self._slots.wait_idle(settings.grace)
        released = 0 if finished else self._slots.release_all()
        await self._slots.wait_idle(2.0)
        unsettled = await self._settler.drained(5.0)
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)
        try:
            await self._registry.leave(self.id)
        except StoreError as error:
            self._log.warning("store.trouble", role="worker", code=error.code, error=str(error))
        self._log.info("worker.left", finished=running - released, released=released, unsettled=unsettled)

    async def _beat(self) -> float:
        info = WorkerInfo(
            self.id,
            sorted(self._catalogue.functions),
            self._settings.concurrency,
            self._started_at,
            self.metrics,
        )
        await self._registry.beat(info)
        return HEARTBEAT

    def _role(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(coroutine, name=name)

    def _report(self, attempt: Attempt, progress: dict[str, Any]) -> None:
        if threading.get_ident() == self._loop_thread:
            self._settler.progress(attempt, progress)
        else:
            self._loop.call_soon_threadsafe(self._settler.progress, attempt, progress)

    def _lose(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self._slots.lose, taken)

    def _cancel(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self._slots.cancel, taken.id, taken.attempt)


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
