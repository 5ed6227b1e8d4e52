"""The built-in function that takes an attempt's event to a subscriber whose jobs lie in another shard.

An attempt starts jobs in its own shard, by the script that settles it. A function whose limits hold for the whole
fleet has all its jobs in one shard: where that is another, a job in the attempt's shard publishes the event there.
"""

from __future__ import annotations

from typing import Any

from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.client.publishing import publish
from runtime.errors import LaneworkError, Permanent, QueueFull, StoreUnavailable
from runtime.handlers.policy import function
from runtime.handlers.spec import Function
from runtime.jobs.built_in import DELIVERY, DELIVERY_ATTEMPTS
from runtime.jobs.event import Event
from runtime.jobs.retry import Retry
from runtime.settings import Settings
from runtime.store.store import Store

_FIRST, _LONGEST = 1, 3600  # seconds between two tries


def delivery_function(store: Store, settings: Settings) -> Function:
    contracts = Contracts(store.registry)
    preparer = Preparer(contracts, settings)

    @function(timeout=30, retry=Retry(max_attempts=DELIVERY_ATTEMPTS, base=_FIRST, cap=_LONGEST))
    async def deliver(subscriber: str, event: dict[str, Any], data: Any = None) -> list[str]:
        """Publish an event to one function, once. Returns the ids of the jobs that it became."""
        events = [(Event.of(event), data)]
        (published,) = await publish(
            events, contracts, preparer, store.jobs.enqueue, lambda name: name == subscriber
        )
        if isinstance(published, (QueueFull, StoreUnavailable)):
            raise published
        if isinstance(published, LaneworkError):
            raise Permanent(f"{published.code}: {published}") from published
        return published.jobs

    return Function(DELIVERY, deliver)
