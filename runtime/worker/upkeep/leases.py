"""Renewing leases, on a thread and a connection of its own: a blocked event loop does not lose them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from runtime import log
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Taken
from runtime.store.thread_client import ThreadClient
from runtime.values import ids
from runtime.worker.held import Held

_BATCH = 500
_MOST_THREADS = 32
_AllOf = Callable[[Callable[[int], bool], Iterable[int]], bool]  # whether the call returned True of each shard


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
        client = ThreadClient(self._settings)
        if client.is_cluster:  # a primary that hangs must not cost the leases that others hold
            with ThreadPoolExecutor(min(_MOST_THREADS, len(self._stores)), "leases") as threads:
                self._renew_until_stopped(client, lambda call, shards: all([*threads.map(call, shards)]))
        else:
            self._renew_until_stopped(client, lambda call, shards: all(map(call, shards)))
        client.close()

    def _renew_until_stopped(self, client: ThreadClient, all_of: _AllOf) -> None:
        while not self._stopped.wait(self._settings.lease / 4):
            # first, so that it runs out no later than what this worker holds
            well = (
                self._takes_no_more or self._is_silent() or all_of(partial(self._stay_alive, client), self._stores)
            )
            held: dict[int, list[Taken]] = {}
            for attempt in self._held.all():
                held.setdefault(ids.shard_of(attempt.taken.id), []).append(attempt.taken)
            renewed = all_of(lambda shard: self._renew(client, shard, held[shard]), held)  # noqa: B023
            self._trouble = self._trouble and not (well and renewed)

    def _stay_alive(self, client: ThreadClient, shard: int) -> bool:
        """Renews the mark that this worker is alive; returns whether the server took it. One at its maxmemory does
        not, and leases are renewed all the same."""
        try:
            self._stores[shard].stay_alive(client)
        except Exception as error:
            return self._failed(error)
        return True

    def _renew(self, client: ThreadClient, shard: int, held: Sequence[Taken]) -> bool:
        try:
            for start in range(0, len(held), _BATCH):
                lost, cancelled = self._stores[shard].renew(client, held[start : start + _BATCH])
                for taken in lost:
                    self._lose(taken)
                for taken in cancelled:
                    self._cancel(taken)
        except Exception as error:  # whatever it was: without this thread every long job would run twice
            return self._failed(error)
        return True

    def _failed(self, error: Exception) -> bool:
        if not self._trouble:
            log.get("leases").warning("store.trouble", role="leases", error=str(error))
        self._trouble = True
        return False
