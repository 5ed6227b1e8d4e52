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

_MOST, _LONG = 1000, 200  # of what requests showed: how many are remembered, and of what length
_FRESH = 1.0  # seconds; older ones are read anew, while they serve
_STALE = 2.0  # older ones do not
_SENT = "send Authorization: Bearer lw_… with an access key (`lanework keys new` makes one)"


def needs_keys(settings: Settings) -> bool:
    """Whether whoever reaches the gateway could be anybody."""
    return settings.require_keys or not (settings.insecure or is_loopback(settings.host))


class Keyring:
    """Asks for a key where it is `required`, and once there has been any: if all are lost, or forgotten, until this
    process ends."""

    def __init__(self, access: AccessKeys, *, required: bool) -> None:
        self._access = access
        self._required = required
        self._keys: Mapping[str, AccessKey] | None = None
        self._read_at = float("-inf")
        self._is_away = False
        self._verified: dict[str, AccessKey] = {}  # by what requests show; hashing it each time costs more
        self._reading: asyncio.Task[None] | None = None

    async def identify(self, authorization: str) -> AccessKey | None:
        """Whose request it is; None where nobody is asked. Raises AccessDenied, StoreUnavailable."""
        keys = await self._current()
        if not self._required:
            return None
        key = self._verified.get(authorization)
        if key is None:
            key = self._verify(keys, authorization)
            if len(self._verified) < _MOST and len(authorization) < _LONG:  # a valid key, however it is written
                self._verified[authorization] = key
        if key.status != "valid":
            raise AccessDenied(f"the access key {key.name} is {key.status}; ask for another")
        return key

    def _verify(self, keys: Mapping[str, AccessKey], authorization: str) -> AccessKey:
        """Raises AccessDenied."""
        kind, _, text = authorization.partition(" ")
        if kind.lower() != "bearer":
            raise AccessDenied(f"this gateway asks for an access key: {_SENT}")
        token = Token.parse(text.strip())
        key = keys.get(token.name) if token else None
        if token is None or key is None or not key.fits(token):
            raise AccessDenied(f"the access key is unknown; {_SENT}")
        return key

    @property
    def may_be_open(self) -> bool:
        """Whether no key has been asked for so far, and none need be."""
        return not self._required

    async def is_asking(self) -> bool:
        """Whether requests need a key now."""
        await self._current()
        return self._required

    async def is_valid(self, key: AccessKey | None) -> bool:
        """Whether who was let in, with this key or with none, would be let in still."""
        if key is None:
            return not await self.is_asking()
        found = (await self._current()).get(key.name)
        return found is not None and found.digest == key.digest and found.status == "valid"

    async def _current(self) -> Mapping[str, AccessKey]:
        age = time.monotonic() - self._read_at
        if age >= _FRESH and (self._reading is None or self._reading.done()):
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=Context())
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        # while Redis is away, whoever the old ones let in meets the same silence
        if age >= _STALE and not (self._is_away and self._keys is not None):
            assert self._reading is not None
            await within(asyncio.shield(self._reading))
        assert self._keys is not None
        return self._keys

    async def _read(self) -> None:
        try:
            self._keys, self._read_at = await self._access.all(), time.monotonic()
        except StoreUnavailable:
            self._is_away = True
            if self._keys is None:
                raise
        else:
            self._is_away = False
            self._verified.clear()
            self._required = self._required or bool(self._keys)
