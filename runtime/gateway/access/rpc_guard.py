"""Asks for access in front of the services of gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from runtime.errors import AccessForbidden, LaneworkError
from runtime.gateway.access.caller import CALLER, admit
from runtime.gateway.access.guard import REFUSALS
from runtime.gateway.access.guarded import GuardedLanework, sign
from runtime.gateway.access.record import Record
from runtime.gateway.access.scopes import COUNTED_METHODS, WATCHING_METHODS, scope_of_method
from runtime.jobs.event import Publication
from runtime.jobs.request import JobRequest
from runtime.store.access import AccessKey

_KIND = "GRPC"  # in place of an HTTP method, in the log


class RpcGuard:
    """Lets calls through by what their access key allows, as the guard of HTTP does."""

    def __init__(self, lanework: GuardedLanework) -> None:
        self._lanework = lanework
        self._record = Record()

    @asynccontextmanager
    async def admitted(self, service: str, method: str, authorization: str) -> AsyncIterator[str]:
        CALLER.set(None)
        scope, path = scope_of_method(service, method), f"/{service}/{method}"
        if scope is None:
            yield ""
            return
        key = None
        try:
            key = await self._lanework.keyring.identify(authorization)
            CALLER.set(key)
            if key is not None:
                await admit(self._lanework.access, key)
                key.require(scope)
            async with self._noted(key, scope, method, path):
                yield authorization if key is None else f"key:{key.name}"
        except REFUSALS as error:
            self._record.refused(key, _KIND, path, error)
            raise

    async def require_function(self, name: str) -> None:
        await self._lanework.require_function(name, is_known=False)

    def require_all(self, what: str) -> None:
        key = CALLER.get()
        if key is not None and key.functions:
            raise AccessForbidden(
                f"{what}, which may come of any function, and the access key {key.name} is for some"
            )

    def permission(self) -> KeyPermission:
        return KeyPermission(self._lanework, CALLER.get())

    def functions_changed(self) -> None:
        self._lanework.functions_changed()

    async def is_valid(self) -> bool:
        return await self._lanework.keyring.is_valid(CALLER.get())

    def _noted(
        self, key: AccessKey | None, scope: str, method: str, path: str
    ) -> AbstractAsyncContextManager[None]:
        """What the call leaves behind: a place among the key's streams, or a record."""
        if key is not None and method in COUNTED_METHODS:
            return self._counted(key)
        if key is not None and method in WATCHING_METHODS:  # which count themselves
            self._lanework.require_stream(key)
        return self._recorded(path) if scope == "operate" else contextlib.nullcontext()

    @asynccontextmanager
    async def _counted(self, key: AccessKey) -> AsyncIterator[None]:
        with self._lanework.stream_reserved(key):
            yield

    @asynccontextmanager
    async def _recorded(self, path: str) -> AsyncIterator[None]:
        """What an operator does, and what came of it, is on record."""
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except LaneworkError as error:
            outcome = error.code
            raise
        finally:
            if outcome != "access-forbidden":  # that is on record as a refusal
                self._record.acted(CALLER.get(), _KIND, path, outcome)


class KeyPermission:
    """What attempts may start that the caller with this key runs."""

    def __init__(self, lanework: GuardedLanework, key: AccessKey | None) -> None:
        self._lanework = lanework
        self._key = key
        self.is_limited = key is not None and bool(key.functions)

    async def require(self, started: JobRequest | Publication) -> None:
        if self._key is None or not self.is_limited:
            return
        if isinstance(started, Publication):
            name = self._key.name
            raise AccessForbidden(f"events reach any function, and the access key {name} is for some")
        CALLER.set(self._key)
        await self._lanework.require_functions(started, is_known=False)  # who stores it says so

    def sign(self, request: JobRequest) -> None:
        if self._key is not None:
            sign(request, self._key)
