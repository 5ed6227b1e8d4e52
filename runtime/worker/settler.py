"""Group commit of outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from runtime import log, metrics
from runtime.errors import StoreUnavailable
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import End, Settlement
from runtime.store.group_commit import GroupCommit
from runtime.values import ids
from runtime.worker.attempt import Attempt
from runtime.worker.held import Held
from runtime.worker.reports import Reports
from runtime.worker.starts import Staging

_PAUSE = 0.2
_GATHER = 0.002  # under load: ends that come one by one, as from processes, would be a round trip each
_BATCH = 250


class Settler:
    """Writes ends of attempts. While Redis is away they are kept, and written when it is back."""

    def __init__(
        self,
        stores: Mapping[int, AttemptStore],
        held: Held,
        staging: Staging,
        reports: Reports,
        *,
        debug: bool = False,
    ) -> None:
        self._debug = debug
        self._held = held
        self._stores = stores
        self._staging = staging
        self._reports = reports
        self._commits = {
            shard: GroupCommit(partial(self._flush, shard), _BATCH, lambda item: item[1].weight, _GATHER)
            for shard in stores
        }
        self._log = log.get("worker")

    def add(self, attempt: Attempt, settlement: Settlement) -> None:
        settlement = self._reports.take_along(attempt, settlement)
        self._commits[ids.shard_of(attempt.taken.id)].add((attempt, settlement))

    def drop(self, attempt: Attempt) -> None:
        """Lets go of an attempt that was lost: nothing of it is written."""
        self._held.remove(attempt)
        metrics.LOST.inc()
        self._log.warning("attempt.lost", **_names(attempt))

    async def drained(self, timeout: float) -> int:
        """Waits for all ends to be written; returns how many were not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                for commit in self._commits.values():
                    await commit.drained()
        except TimeoutError:
            pass
        return len(self._held)

    async def _flush(self, shard: int, batch: list[tuple[Attempt, Settlement]]) -> None:
        settlements = [settlement for _, settlement in batch]
        repeated = False
        while True:
            try:
                replies = await self._stores[shard].settle(settlements)
                break
            except StoreUnavailable as error:
                if not repeated:
                    self._log.warning("settle.waits", attempts=len(batch), error=str(error))
                repeated = True
                await asyncio.sleep(_PAUSE)
            except Exception as error:
                if len(batch) > 1:  # one that cannot be written must not keep the others from it
                    for ended in batch:
                        await self._flush(shard, [ended])
                    return
                # the lease runs out, and the job runs again
                self._log.error("settle.refused", error=str(error), **_names(batch[0][0]))
                replies = ["lost"]
                break
        for (attempt, settlement), end in zip(batch, replies, strict=True):
            self._settled(attempt, settlement, end, repeated)

    def _settled(self, attempt: Attempt, settlement: Settlement, end: End, repeated: bool) -> None:
        self._held.remove(attempt)
        if settlement.staged:  # even if a repeated call got "lost": the first one may have arrived
            self._staging.start(attempt.taken.id)
        if end != "lost":
            outcome = "cancelled" if end == "cancelled" else settlement.outcome
            attempt.meters.settled(outcome)
            if self._debug:
                self._log.debug("attempt.settled", outcome=outcome, **_names(attempt))
        elif not repeated:
            # a repeated call may find that the first one had arrived after all
            metrics.LOST.inc()
            self._log.warning("attempt.lost", outcome=settlement.outcome, **_names(attempt))


def _names(attempt: Attempt) -> dict[str, Any]:
    taken = attempt.taken
    return {"job": taken.id, "function": taken.type, "attempt": taken.attempt}
