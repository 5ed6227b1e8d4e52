"""A worker: how its roles start, work and leave together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from runtime import log
from runtime.errors import StoreUnavailable
from runtime.handlers.catalogue import Catalogue
from runtime.settings import Settings
from runtime.store.connect import OVERDUE
from runtime.store.store import Store
from runtime.worker import exits_and_forks
from runtime.worker.attempt import Reporting
from runtime.worker.callbacks import callback_function
from runtime.worker.calls import Caller, Calls
from runtime.worker.deliveries import delivery_function
from runtime.worker.deployer import WATCH_EVERY, Deployer
from runtime.worker.loop import keep_going
from runtime.worker.parts import Parts
from runtime.worker.processes.pool import Pool
from runtime.worker.reader import LISTEN
from runtime.worker.threads import Threads

SILENT = LISTEN + 2 * OVERDUE
_RARELY = 3600.0  # seconds between looks at what does not change
_SETTLE = 5.0  # seconds for writing what has ended
_LET_GO = 5.0  # seconds for cancelled attempts to end, and for killing those that ignore it


class Worker:
    """Runs the functions of a folder, or of a catalogue, until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue | None = None,
        *,
        metrics_url: str = "",
        alone: bool = False,
        make_caller: Callable[[Reporting], Caller] | None = None,
        name: str = "",
    ) -> None:
        """Without a `catalogue`: those of the functions folder, which is followed as it changes.

        `metrics_url`: where it shows its metrics, if anywhere; `GET /workers` tells it. `alone`: whether the
        process is this worker's, which may end it where its event loop stands still. `make_caller`: what calls
        handlers, if not this process. `name`: what its id begins with; else host and process.
        """
        self._alone = alone
        self.id = f"{name or f'{socket.gethostname()}-{os.getpid()}'}-{secrets.token_hex(3)}"
        self._make_caller = make_caller
        self._metrics_url = metrics_url
        self._settings = settings
        self._given = catalogue
        self._log = log.get("worker").bind(worker=self.id)
        self.started = asyncio.Event()
        self.taken_no_more = asyncio.Event()  # set once what it hands back does not come to it again
        self._stop = asyncio.Event()
        self._deployer: Deployer | None = None
        self._behind = False  # whether the folder has changed and not everybody knows
        self._parts: Parts | None = None
        self._roles: list[asyncio.Task[None]] = []

    @property
    def trouble(self) -> str | None:
        """Why it is not working: a role has ended, or Redis has not answered its reader for too long."""
        if self._parts is None or not self._roles or not self._parts.leases.alive:
            return "it is starting or leaving"
        if ended := [role.get_name() for role in self._roles if role.done()]:
            return f"a role has ended: {', '.join(ended)}"
        silent = self._parts.silent
        return f"Redis has not answered for {silent:.0f} s" if silent > SILENT else None

    def stop(self) -> None:
        """Take no more, let what runs finish within the grace, hand the rest back, and leave."""
        self._stop.set()

    async def run(self) -> None:
        """Raises StoreError where the server cannot serve at the start, FunctionInvalid, FunctionUnknown."""
        loop = asyncio.get_running_loop()
        with exits_and_forks.copies_end(), exits_and_forks.tasks_contained(loop):
            await self.serve()

    async def serve(self) -> None:
        """The same where no handler runs in this process."""
        settings = self._settings
        pool, threads = Pool(settings), Threads(settings.concurrency)
        store = Store(settings)
        try:
            catalogue = await self._deploy(pool, store)
            await self._await_server(store)
            if self._stop.is_set():
                return
            make_caller = self._make_caller or partial(Calls, threads, pool, settings)
            parts = self._parts = Parts(
                self.id, store, pool, settings, self._metrics_url, make_caller, self.taken_no_more
            )
            parts.leases.start()
            if self._alone:
                parts.stall.start()
            try:
                await parts.serve(catalogue)
                self._tell_started(catalogue)
                grace = 0.0  # for a worker that fails, or whose task is cancelled
                try:
                    await self._work(parts)
                    grace = settings.grace
                finally:
                    await self._leave(parts, grace)
            finally:
                await parts.close()
        finally:
            self.taken_no_more.set()  # whatever has happened: who waits for it must not do so for ever
            if self._deployer is not None:
                await self._deployer.close()
            await pool.close()
            threads.close()
            await store.close()

    async def _deploy(self, pool: Pool, store: Store) -> Catalogue:
        if self._given is not None:
            return self._given
        built_in = [callback_function(store.webhook_secret, store.access, self._settings)]
        if self._settings.shards > 1:
            built_in.append(delivery_function(store, self._settings))
        self._deployer = Deployer(self._settings, pool, built_in)
        await self._deployer.start()
        return self._deployer.catalogue

    def _tell_started(self, catalogue: Catalogue) -> None:
        """Once everything that was there at the start has been loaded; what is ready is served meanwhile."""
        settings, loading = self._settings, self._deployer.loading if self._deployer else []
        functions = sorted(catalogue.functions)
        if loading:
            self._log.info("worker.starting", functions=functions, still_loading=loading)
        elif not self.started.is_set():
            self.started.set()
            capacity = {"concurrency": settings.concurrency, "processes": settings.processes}
            self._log.info("worker.started", functions=functions, **capacity)

    async def _await_server(self, store: Store) -> None:
        """Until the server answers or the worker is stopped. Raises StoreError where it cannot serve."""
        warned = False
        while not self._stop.is_set():
            try:
                await store.check()
                return
            except StoreUnavailable as error:
                if not warned:
                    self._log.warning("store.awaited", error=str(error))
                warned = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.5)

    async def _work(self, parts: Parts) -> None:
        """Until `stop`, or until a role fails: then the worker fails with it. Nothing is taken afterwards."""
        readers = [self._role("reader", reader.step) for reader in parts.readers]
        others = [self._role("sweeper", sweeper.step) for sweeper in parts.sweepers]
        others += [self._role("cancellations", orders.step) for orders in parts.cancellations]
        others.append(self._role("heartbeat", parts.heartbeat.beat))
        others.append(self._role("ticker", parts.ticker.step))
        if self._deployer is not None and (self._settings.watch or not self.started.is_set()):
            others.append(self._role("watch", partial(self._watch, self._deployer, parts)))
        self._roles = [*readers, *others]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*self._roles, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await _ended([*readers, stopping])
            finally:
                await parts.take_no_more()
        for role in done - {stopping}:
            self._log.error("worker.failed", role=role.get_name())
            role.result()

    async def _watch(self, deployer: Deployer, parts: Parts) -> float:
        """A step: follows the folder."""
        if await deployer.look() or self._behind:
            self._behind = True
            await parts.serve(deployer.catalogue)
            self._behind = False
            if not self.started.is_set():
                self._tell_started(deployer.catalogue)
        return WATCH_EVERY if self._settings.watch or not self.started.is_set() else _RARELY

    async def _leave(self, parts: Parts, grace: float) -> None:
        """Lets what runs finish within `grace` seconds, and hands back the rest."""
        running = parts.running
        self._log.info("worker.leaving", running=running, grace=grace)
        finished = await parts.idle_within(grace)
        released = 0 if finished else parts.held.release_all()
        await parts.idle_within(_LET_GO)
        unsettled = await parts.settler.drained(_SETTLE)
        await parts.staging.idle_within(_SETTLE)
        await _ended(self._roles)
        await parts.heartbeat.leave()
        self._log.info("worker.left", finished=running - released, released=released, unsettled=unsettled)

    def _role(self, name: str, step: Callable[[], Awaitable[float]]) -> asyncio.Task[None]:
        return asyncio.create_task(keep_going(name, step), name=name)


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and returns once they have ended, however."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
