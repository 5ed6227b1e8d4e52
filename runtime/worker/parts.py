"""What a worker is made of while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from runtime import metrics
from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.errors import StoreError
from runtime.handlers.catalogue import Catalogue
from runtime.settings import Settings
from runtime.store.attempts import Taken
from runtime.store.rows import Limit
from runtime.store.store import Store
from runtime.values import durations
from runtime.worker.attempt import Reporting
from runtime.worker.calls import Caller
from runtime.worker.held import Held
from runtime.worker.processes.pool import Pool
from runtime.worker.reports import Reports
from runtime.worker.runner import Runner
from runtime.worker.settler import Settler
from runtime.worker.slot_group import SlotGroup
from runtime.worker.slots import Slots
from runtime.worker.starts import Staging, Starts
from runtime.worker.upkeep.cancellations import Cancellations
from runtime.worker.upkeep.heartbeat import Heartbeat
from runtime.worker.upkeep.leases import Leases
from runtime.worker.upkeep.stall import Stall
from runtime.worker.upkeep.sweeper import Sweeper
from runtime.worker.upkeep.ticker import Ticker


class Parts:
    """The roles of a worker and what they share. Made on its event loop; nothing runs yet."""

    def __init__(
        self,
        worker: str,
        store: Store,
        pool: Pool,
        settings: Settings,
        metrics_url: str,
        make_caller: Callable[[Reporting], Caller],
        taken_no_more: asyncio.Event,
    ) -> None:
        """`worker`: its id. `metrics_url`: where it serves its metrics, if anywhere. `make_caller`: what calls
        handlers, and tells what they report. `taken_no_more`: is set once what is handed back from then on does not
        come to this worker again."""
        self.pool = pool
        self._loop = asyncio.get_running_loop()
        self.stores = store.attempts(worker)
        self.staging = Staging(self.stores)
        self.held = Held()
        reports = Reports(self.stores, self.held, settings)
        debug = settings.log_level == "debug"
        self.settler = Settler(self.stores, self.held, self.staging, reports, debug=debug)
        contracts = Contracts(store.registry)
        preparer = Preparer(contracts, settings)
        self.taken_no_more = taken_no_more
        task = asyncio.current_task()
        assert task is not None
        runner = Runner(
            make_caller(reports),
            Starts(preparer, contracts, self.staging.stage),
            settings.result_limit,
            lambda: task.cancelling() > 0,
            self.taken_no_more,
        )
        slots = self._count = settings.concurrency + settings.processes
        metrics.add_slots(slots)
        on_loop = Slots(settings.concurrency, self.held, 2 * slots, runner, self.settler)
        in_processes = Slots(
            settings.processes, self.held, 2 * slots, runner, self.settler, lambda: pool.admission.ahead
        )
        self.groups = [
            SlotGroup(name, slots, self.stores, settings)
            for name, slots in (("loop", on_loop), ("process", in_processes))
        ]
        self.readers = [reader for group in self.groups for reader in group.readers]
        self.stall = Stall(self.stores, self.held, settings, pool.kill)
        self.leases = Leases(self.stores, self.held, settings, self._lose, self._cancel, self.stall.is_silent)
        self.cancellations = [
            Cancellations(attempts, store.blocking, self.held.cancel) for attempts in self.stores.values()
        ]
        self.ticker = Ticker(store.schedules, preparer, settings)
        self.heartbeat = Heartbeat(worker, store.registry, store.stats, settings, metrics_url)
        self.sweepers = [
            Sweeper(attempts, settings, lambda: self.heartbeat.fleet) for attempts in self.stores.values()
        ]

    @property
    def silent(self) -> float:
        """For how many seconds Redis has not answered: of several shards, the one that answered last. What one that
        is away costs, no restart would mend."""
        by_shard = zip(*(group.readers for group in self.groups), strict=True)
        silences: list[float] = [max(reader.silent for reader in readers) for readers in by_shard]
        return min(silences)

    async def serve(self, catalogue: Catalogue) -> None:
        """Publishes and serves the functions of this catalogue. Raises StoreError."""
        await self.heartbeat.publish(catalogue)
        limits = _limits(catalogue)
        for store in self.stores.values():
            store.limit(limits)
        own = {name: fn for name, fn in catalogue.functions.items() if name == fn.name}
        self.ticker.follow({name: fn.policy.schedules for name, fn in own.items() if fn.policy.schedules})
        for group in self.groups:
            in_processes = group.name == "process"
            await group.serve(
                {
                    name: fn
                    for name, fn in catalogue.functions.items()
                    if (fn.isolation == "process") == in_processes
                }
            )

    async def take_no_more(self) -> None:
        """Once the readers have ended: what is handed back from now on does not come to this worker again."""
        self.leases.take_no_more()
        for store in self.stores.values():
            with contextlib.suppress(StoreError):  # then the mark runs out with the lease
                await store.take_no_more()
        self.taken_no_more.set()

    @property
    def running(self) -> int:
        """How many handlers run, or have a slot set aside to run in."""
        return sum(group.slots.running for group in self.groups)

    async def idle_within(self, seconds: float) -> bool:
        """Whether every handler has ended within that time."""
        return all(await asyncio.gather(*(group.slots.wait_idle(seconds) for group in self.groups)))

    async def close(self) -> None:
        metrics.add_slots(-self._count)
        self.staging.close()
        await asyncio.to_thread(self.leases.stop)
        await asyncio.to_thread(self.stall.stop)
        for group in self.groups:
            await group.close()

    # called from any thread

    def _lose(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self.held.lose, taken)

    def _cancel(self, taken: Taken) -> None:
        self._loop.call_soon_threadsafe(self.held.cancel, taken.id, taken.attempt)


def _limits(catalogue: Catalogue) -> dict[str, Limit]:
    """Limits by job type; all names of a function share its limit."""
    limits = {}
    for name, function in catalogue.functions.items():
        policy = function.policy
        if policy.concurrency is not None or policy.rate is not None:
            every, burst = (0.0, 1) if policy.rate is None else durations.rate(policy.rate)
            keyed = int(policy.concurrency_key is not None)
            limits[name] = Limit(function.name, policy.concurrency or 0, keyed, round(every * 1e6), burst)
    return limits
