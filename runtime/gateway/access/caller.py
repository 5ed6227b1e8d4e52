"""Whose request is being answered."""

from __future__ import annotations

import math
from contextvars import ContextVar

from runtime.client.deadline import within
from runtime.errors import RateExceeded
from runtime.store.access import AccessKey, AccessKeys

CALLER: ContextVar[AccessKey | None] = ContextVar("caller", default=None)  # None: nobody was asked for a key


async def admit(access: AccessKeys, key: AccessKey) -> None:
    """Counts a request towards the key's rate. Raises RateExceeded, StoreUnavailable."""
    if key.rate and (left := await within(access.charge(key, 1))):
        seconds = math.ceil(left)
        raise RateExceeded(f"the access key {key.name} may ask {key.rate}; try again in {seconds} s", seconds)


async def charge(access: AccessKeys, count: int) -> None:
    """Counts what a request that was admitted asks for besides. Raises StoreUnavailable."""
    key = CALLER.get()
    if key is not None and key.rate and count > 0:
        await within(access.charge(key, count, admitted=True))
