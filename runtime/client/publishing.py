"""Publishing events: one job for each function that subscribes, whatever a publisher knows of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime import metrics
from runtime.client.bulk import Stored, submitted
from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.errors import LaneworkError
from runtime.jobs.event import Event, Subscribed, key_of
from runtime.store.jobs import Refusal
from runtime.store.rows import NewJob

_PART = 500
_PART_BYTES = 4 << 20
Store = Callable[[list[NewJob]], Awaitable[tuple[int, dict[str, Refusal]]]]


@dataclass(slots=True)
class Published:
    """An event, and the jobs that it became: one for each subscriber. `new`: False where it had been published
    before, which for the subscribers of then made no job again."""

    event: Event
    jobs: list[str] = field(default_factory=list)
    new: bool = False


async def publish(
    events: Sequence[tuple[Event, Any]],
    contracts: Contracts,
    preparer: Preparer,
    store: Store,
    visible: Callable[[str], bool],
) -> list[Published | LaneworkError]:
    """See `Lanework.publish_many`. `visible`: for which functions."""
    results: list[Published | LaneworkError] = []
    batch: list[tuple[int, NewJob]] = []
    for number, (event, data) in enumerate(events):
        try:
            Event.of(event.attributes)  # raises for one that cannot be
            subscribers = [c for c in await contracts.subscribers(event) if visible(c.deployed.name)]
            jobs = [
                await preparer.prepare_subscribed(request_of(event, data, c.deployed.name), c) for c in subscribers
            ]
        except LaneworkError as error:
            results.append(error)
            continue
        batch += [(number, job) for job in jobs]
        results.append(Published(event, new=not jobs))
    for number, stored in await _stored(batch, store):
        published = results[number]
        if isinstance(published, LaneworkError):
            continue
        if isinstance(stored, LaneworkError):
            results[number] = stored
        else:
            published.jobs.append(stored.id)
            published.new = published.new or stored.new
    for result in results:
        if isinstance(result, Published):
            metrics.EVENTS.labels("delivered" if result.jobs else "unclaimed").inc()
    return results


def request_of(event: Event, data: Any, function: str) -> Subscribed:
    """The request for one subscriber's job."""
    return Subscribed(function, data, key=key_of(event, function), event=event)


async def _stored(batch: list[tuple[int, NewJob]], store: Store) -> list[tuple[int, Stored | LaneworkError]]:
    stored: list[tuple[int, Stored | LaneworkError]] = []
    for part in _parts(batch):
        try:
            _, refused = await store([job for _, job in part])
            stored += [(number, submitted(job, refused.get(job.id))) for number, job in part]
        except LaneworkError as error:
            stored += [(number, error) for number, _ in part]
    return stored


def _parts(batch: list[tuple[int, NewJob]]) -> Iterator[list[tuple[int, NewJob]]]:
    """As many as one script call stores in some 10 ms."""
    part: list[tuple[int, NewJob]] = []
    size = 0
    for number, job in batch:
        part.append((number, job))
        size += len(job.payload) + len(job.extras or b"")
        if len(part) == _PART or size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
