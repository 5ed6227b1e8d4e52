"""Whose request is being answered."""

from __future__ import annotations

import math
from contextvars import ContextVar

from runtime.client.deadline import within
from runtime.errors import RateExceeded
from runtime.store.access import AccessKey, AccessKeys

CALLER: ContextVar[AccessKey | None] = ContextVar("caller", default=None)  # None: nobody was asked for a key


async def charge(access: AccessKeys, key: AccessKey, count: int) -> None:
    """Counts requests towards the key's rate. Raises RateExceeded, StoreUnavailable."""
    if key.rate and count and (seconds := await within(access.charge(key, count))):
        message = f"the access key {key.name} may ask {key.rate}; try again in {seconds:.3g} s"
        raise RateExceeded(message, math.ceil(seconds))
