"""Publishes what this worker has, and that it is alive."""

from __future__ import annotations

import asyncio

from runtime import log
from runtime.errors import StoreError
from runtime.handlers.catalogue import Catalogue
from runtime.settings import Settings
from runtime.store.registry import HEARTBEAT, Answer, Registry, WorkerInfo, describe, describe_broken
from runtime.store.stats import Stats
from runtime.values.clock import now_ms


class Heartbeat:
    """Publishes functions, and beats; `beat` is a step for `keep_going`."""

    def __init__(self, worker: str, registry: Registry, stats: Stats, settings: Settings, metrics_url: str) -> None:
        self._metrics_url = metrics_url
        self._worker = worker
        self._registry = registry
        self._stats = stats
        self._settings = settings
        self._started_at = now_ms()
        self._catalogue = Catalogue()
        self._gone: set[str] = set()
        self._reports: set[asyncio.Task[Answer]] = set()
        self.fleet = 1  # how many workers there are, this one among them

    async def publish(self, catalogue: Catalogue) -> None:
        """Publishes what is new, changed or gone since the last call. Raises StoreError."""
        before, self._catalogue = self._catalogue, catalogue
        try:
            await self._tell(before, catalogue)
        except StoreError:
            self._catalogue = before  # the next call publishes it again
            raise

    async def _tell(self, before: Catalogue, now: Catalogue) -> None:
        settings = self._settings
        deployed = [
            describe(name, spec, settings)
            for name, spec in now.functions.items()
            if before.functions.get(name) is not spec
        ]
        deployed += [describe_broken(name, trace, settings) for name, trace in now.broken.items()]
        await self._registry.publish(deployed)
        self._gone |= {*before.functions, *before.broken}
        await self.beat()

    async def _forget(self) -> None:
        """Withdraws removed functions once no worker has them and none of their jobs wait or run."""
        self._gone -= {*self._catalogue.functions, *self._catalogue.broken}
        if self._gone:
            waiting = {depth.function for depth in await self._stats.depths() if depth.waiting + depth.running}
            await self._registry.withdraw([name for name in self._gone if name not in waiting])
            self._gone &= (await self._registry.functions()).keys()

    async def beat(self) -> float:
        """Reports what this worker has."""
        catalogue = self._catalogue
        info = WorkerInfo(
            self._worker,
            {name: spec.version for name, spec in sorted(catalogue.functions.items())},
            self._settings.concurrency,
            self._settings.processes,
            self._started_at,
            self._metrics_url,
            dict(catalogue.broken),
        )
        answer = await self._report(info)
        self.fleet = answer.workers
        if answer.missing:  # another worker withdrew it while we published it
            deployed = [describe(name, catalogue.functions[name], self._settings) for name in answer.missing]
            await self._registry.publish(deployed)
        await self._forget()
        return HEARTBEAT

    async def _report(self, info: WorkerInfo) -> Answer:
        """Whoever stops waiting for the answer does not stop what is on its way to the server."""
        report = asyncio.ensure_future(self._registry.beat(info))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)
        return await asyncio.shield(report)

    async def leave(self) -> None:
        if self._reports:  # one that arrived later, on another connection, would show this worker for 15 s more
            await asyncio.wait(self._reports)
        try:
            await self._registry.leave(self._worker)
        except StoreError as error:
            log.get("worker").warning("store.trouble", role="worker", code=error.code, error=str(error))
