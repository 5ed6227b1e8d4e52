"""The access keys as of a second ago: no request waits for Redis to show who it is from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Context

from runtime.client.deadline import within
from runtime.errors import AccessDenied, StoreUnavailable
from runtime.gateway.hosts import is_loopback
from runtime.settings import Settings
from runtime.store.access import AccessKey, AccessKeys, Token

_FRESH = 1.0  # seconds; older ones are read anew, while they serve
_STALE = 2.0  # older ones do not
_SENT = "send Authorization: Bearer lw_… with an access key (`lanework keys new` makes one)"


def needs_keys(settings: Settings) -> bool:
    """Whether whoever reaches the gateway could be anybody."""
    return not settings.insecure and not is_loopback(settings.host)


class Keyring:
    """Asks for a key as soon as there is any, or where `required` says that it must."""

    def __init__(self, access: AccessKeys, *, required: bool) -> None:
        self._access = access
        self._required = required
        self._keys: Mapping[str, AccessKey] | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def identify(self, authorization: str) -> AccessKey | None:
        """Whose request it is; None where nobody is asked. Raises AccessDenied, StoreUnavailable."""
        keys = await self._current()
        if not keys and not self._required:
            return None
        kind, _, text = authorization.partition(" ")
        if kind.lower() != "bearer":
            raise AccessDenied(f"this gateway asks for an access key: {_SENT}")
        token = Token.parse(text.strip())
        key = keys.get(token.name) if token else None
        if token is None or key is None or not key.fits(token):
            raise AccessDenied(f"the access key is unknown; {_SENT}")
        if key.status != "valid":
            raise AccessDenied(f"the access key {key.name} is {key.status}; ask for another")
        return key

    async def is_asking(self) -> bool:
        """Whether requests need a key now."""
        return self._required or bool(await self._current())

    async def is_valid(self, key: AccessKey) -> bool:
        """Whether a key that was let in would be let in still."""
        found = (await self._current()).get(key.name)
        return found is not None and found.digest == key.digest and found.status == "valid"

    async def _current(self) -> Mapping[str, AccessKey]:
        age = time.monotonic() - self._read_at
        if age >= _FRESH and (self._reading is None or self._reading.done()):
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        if age >= _STALE:
            assert self._reading is not None
            try:
                await within(asyncio.shield(self._reading))
            except StoreUnavailable:
                if self._keys is None:
                    raise
                # whoever the old ones let in meets the same silence
        assert self._keys is not None
        return self._keys

    async def _read(self) -> None:
        self._keys, self._read_at = await self._access.all(), time.monotonic()
