"""Renewing leases, on a thread and a connection of its own: a blocked event loop does not lose them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from runtime import log
from runtime.errors import StoreError
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Taken
from runtime.store.connect import SyncRedis, connect_sync
from runtime.values import ids
from runtime.worker.held import Held

_BATCH = 500


class Leases:
    """Renews the leases of held attempts, four times per lease."""

    def __init__(
        self,
        stores: Mapping[int, AttemptStore],
        held: Held,
        settings: Settings,
        lose: Callable[[Taken], None],
        cancel: Callable[[Taken], None],
        is_silent: Callable[[], bool],
    ) -> None:
        """`is_silent`: whether takes sent ahead must get nothing, because the loop would not run their jobs."""
        self._stores = stores
        self._held = held
        self._settings = settings
        self._lose = lose
        self._cancel = cancel
        self._is_silent = is_silent
        self._trouble = False
        self._takes_no_more = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def take_no_more(self) -> None:
        """Leases are renewed, but takes sent ahead are to get nothing."""
        self._takes_no_more = True

    def stop(self) -> None:
        self._stopped.set()
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        client = connect_sync(self._settings)
        while not self._stopped.wait(self._settings.lease / 4):
            try:
                # first, so that it runs out no later than what this worker holds
                well = self._takes_no_more or self._is_silent() or self._stay_alive(client)
                self._renew(client)
                self._trouble = self._trouble and not well
            except Exception as error:  # whatever it was: without this thread every long job would run twice
                self._tell(error)
        client.close()

    def _stay_alive(self, client: SyncRedis) -> bool:
        """Renews the mark that this worker is alive; returns whether the server took it. One at its maxmemory does
        not, and leases are renewed all the same."""
        try:
            for store in self._stores.values():
                store.stay_alive(client)
        except StoreError as error:
            self._tell(error)
            return False
        return True

    def _tell(self, error: Exception) -> None:
        if not self._trouble:
            log.get("leases").warning("store.trouble", role="leases", error=str(error))
        self._trouble = True

    def _renew(self, client: SyncRedis) -> None:
        by_shard: dict[int, list[Taken]] = {}
        for attempt in self._held.all():
            by_shard.setdefault(ids.shard_of(attempt.taken.id), []).append(attempt.taken)
        for shard, held in by_shard.items():
            for start in range(0, len(held), _BATCH):
                lost, cancelled = self._stores[shard].renew(client, held[start : start + _BATCH])
                for taken in lost:
                    self._lose(taken)
                for taken in cancelled:
                    self._cancel(taken)
