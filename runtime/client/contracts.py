"""The functions that can be enqueued, as workers published them."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Sequence
from contextvars import Context
from typing import Protocol

from runtime.client.deadline import within
from runtime.client.payload_check import Contract
from runtime.errors import FunctionUnknown, StoreUnavailable
from runtime.jobs.event import Event
from runtime.store.registry import Deployed

_FRESH = 1.0
_STALE = 1.5
_LONGEST = 100  # characters of a name that is looked for among others
_SOON = 0.1  # an unknown name is looked up again, but not for every request of a flood
_AT_ONCE = 0.5  # seconds: a refusal came, no silence


class Deployments(Protocol):
    """Source of what is deployed."""

    async def functions(self) -> dict[str, Deployed]: ...
    async def restore(self, deployed: Sequence[Deployed]) -> bool: ...


class Contracts:
    """All contracts, read from Redis when asked for; one that is known serves while it is read anew.

    A change is seen within 1.5 s: after that, a caller waits for the reading.
    """

    def __init__(self, registry: Deployments) -> None:
        self._registry = registry
        self._known: dict[str, Contract] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def known(self, name: str) -> Contract | None:
        """What is known of a function now, if anything; read anew in the background where that ages."""
        age = time.monotonic() - self._read_at
        if age >= _FRESH:
            self._start_reading()
        return None if age >= _STALE else self._known.get(name)

    async def get(self, name: str) -> Contract:
        """Raises FunctionUnknown with near names, and StoreUnavailable where they could not be read."""
        found = self.known(name)
        asked_at = time.monotonic()
        if found is None and asked_at - self._read_at >= _SOON:
            try:
                await within(asyncio.shield(self._start_reading()))
            except StoreUnavailable:
                # in a cluster, the job's server may be there while this one is away; one that hangs took its time
                if name not in self._known or time.monotonic() - asked_at > _AT_ONCE:
                    raise
            found = self._known.get(name)
        if found is None:
            # comparing takes as long as the name is
            near = difflib.get_close_matches(name, self._known) if len(name) <= _LONGEST else []
            raise FunctionUnknown(name, near, none_known=not self._known)
        return found

    def expire(self) -> None:
        """What is known is read anew before it is used again."""
        self._read_at = float("-inf")

    async def subscribers(self, event: Event) -> list[Contract]:
        """The functions that subscribe to such an event. Raises StoreUnavailable where they could not be read."""
        age = time.monotonic() - self._read_at
        if age >= _FRESH:
            reading = self._start_reading()
            if age >= _STALE:
                await within(asyncio.shield(reading))
        return [c for c in self._known.values() if c.subscription is not None and c.subscription.wants(event)]

    async def all(self) -> dict[str, Contract]:
        """Raises StoreUnavailable."""
        await within(asyncio.shield(self._start_reading()))
        return self._known

    def _start_reading(self) -> asyncio.Task[None]:
        """One reading for all concurrent callers."""
        if self._reading is None or self._reading.done():
            # for all who ask: not a part of the request that asked first
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._reading

    async def _read(self) -> None:
        deployed, known = await self._registry.functions(), self._known
        if (
            known
            and not deployed
            and await self._registry.restore([contract.deployed for contract in known.values()])
        ):
            deployed = await self._registry.functions()
        self._known = {
            name: known[name] if name in known and known[name].deployed == found else Contract(found)
            for name, found in deployed.items()
        }
        self._read_at = time.monotonic()
