"""The store: everything that Lanework keeps in Redis, on one set of connections."""

from __future__ import annotations

from runtime.settings import Settings
from runtime.store.access import AccessKeys
from runtime.store.archive import Archive
from runtime.store.attempt_store import AttemptStore
from runtime.store.checkup import Checkup, Overdue, Strays, configure, examine, overdue, strays
from runtime.store.connect import connect, disconnect
from runtime.store.dead import Dead
from runtime.store.emitted import EmittedStore
from runtime.store.jobs import Jobs
from runtime.store.keys import Keys
from runtime.store.newest_jobs import NewestJobs
from runtime.store.operations import Operations
from runtime.store.registry import Registry
from runtime.store.related_jobs import RelatedJobs
from runtime.store.scheduled_jobs import ScheduledJobs
from runtime.store.schedules import Schedules
from runtime.store.server import Server, read_server
from runtime.store.server_check import check_server
from runtime.store.stats import Stats
from runtime.store.waiters import Waiters
from runtime.store.webhook_secret import WebhookSecret


class Store:
    """Its parts, as clients and workers use them."""

    def __init__(self, settings: Settings, *, gathers: bool = False) -> None:
        """`gathers`: see Wire."""
        self._settings = settings
        self.shards = settings.shards
        self._client = connect(settings)
        self._client.gathers = gathers
        self.blocking = connect(settings, timeout=None)  # for reads that wait
        self.access = AccessKeys(self._client, settings)
        self.webhook_secret = WebhookSecret(self._client, settings)
        self.jobs = Jobs(self._client, settings)
        self.archive = Archive(self._client, self.blocking, settings)
        self.emitted = EmittedStore(self._client, Keys(settings.prefix))
        self.newest_jobs = NewestJobs(self._client, settings, self.jobs)
        self.related_jobs = RelatedJobs(self._client, settings, self.jobs)
        self.scheduled_jobs = ScheduledJobs(self._client, settings, self.jobs)
        self.dead = Dead(self._client, settings, self.jobs)
        self.operations = Operations(self._client, settings)
        self.registry = Registry(self._client, settings)
        self.schedules = Schedules(self._client, settings)
        self.stats = Stats(self._client, settings)
        self.waiters = Waiters(self.jobs, self.blocking, Keys(settings.prefix))

    def attempts(self, worker: str) -> dict[int, AttemptStore]:
        """What the worker with this id holds, by shard."""
        shards = range(self._settings.shards)
        return {shard: AttemptStore(self._client, self._settings, shard, worker) for shard in shards}

    async def check(self) -> None:
        """Raises StoreUnavailable, StoreUnsupported or StoreMismatch where jobs could not be served."""
        await check_server(self._client, self._settings)

    async def server(self) -> Server:
        """How the server is. Raises StoreUnavailable."""
        return await read_server(self._client)

    async def checkup(self) -> list[Checkup]:
        """As `examine`. Raises StoreUnavailable."""
        return await examine(self._client, self._settings)

    async def overdue(self) -> list[Overdue]:
        """As `checkup.overdue`. Raises StoreUnavailable."""
        return await overdue(self._client, self._settings)

    async def strays(self) -> Strays:
        """As `checkup.strays`. Raises StoreUnavailable."""
        return await strays(self._client, self._settings)

    async def configure(self, name: str, value: str) -> str | None:
        """As `checkup.configure`. Raises StoreUnavailable."""
        return await configure(self._client, name, value)

    async def close(self) -> None:
        await self.waiters.close()
        await disconnect(self._client)
        await disconnect(self.blocking)
