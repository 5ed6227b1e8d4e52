"""Asks for access in front of handlers, which know nothing of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runtime.errors import AccessDenied, AccessForbidden, LaneworkError, RateExceeded, StoreUnavailable
from runtime.gateway import requests, sse
from runtime.gateway.access.caller import CALLER, admit
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.access.record import Record
from runtime.gateway.access.scopes import ITS_OWN, OF_ALL, scope_of
from runtime.gateway.endpoint import Handler, Paths
from runtime.store.access import AccessKey

REFUSALS = (AccessDenied, AccessForbidden, RateExceeded)


class Guard:
    """Lets requests through to handlers by what their access key allows."""

    def __init__(self, lanework: GuardedLanework) -> None:
        self._lanework = lanework
        self._record = Record()

    def guarded(self, paths: Paths) -> Paths:
        """The paths, each handler behind the guard but those that are open to all."""
        return {
            path: {method: self._guarded(handler, method, path) for method, handler in handlers.items()}
            for path, handlers in paths.items()
        }

    def _guarded(self, handler: Handler, method: str, path: str) -> Handler:
        scope = scope_of(method, path)
        if scope is None:
            return self._refusals_recorded(handler) if path in ITS_OWN else handler
        answer = self._recorded(handler) if scope == "operate" else handler

        async def guarded(request: Request) -> Response:
            key = None
            try:
                key = await self._identify(request, path)
                if key is None:
                    return await answer(request)
                CALLER.set(key)
                request.scope["lanework.caller"] = f"key:{key.name}"
                is_streamed = sse.is_wanted(request)
                await self._admit(key, scope, request, path, is_streamed)
                if is_streamed or requests.prefers(request, "text/plain"):
                    with self._lanework.stream_reserved(key):
                        return await answer(request)
                return await answer(request)
            except REFUSALS as error:
                self._record.refused(key, request.method, request.scope["path"], error)
                raise

        return guarded

    def _refusals_recorded(self, handler: Handler) -> Handler:
        async def recorded(request: Request) -> Response:
            try:
                return await handler(request)
            except REFUSALS as error:
                self._record.refused(CALLER.get(), request.method, request.scope["path"], error)
                raise

        return recorded

    def _recorded(self, handler: Handler) -> Handler:
        """What an operator does, and what came of it, is on record."""

        async def recorded(request: Request) -> Response:
            outcome: int | str = "failed"
            try:
                response = await handler(request)
                outcome = response.status_code
            except LaneworkError as error:
                outcome = error.code
                raise
            finally:
                if outcome != AccessForbidden.code:  # that is on record as a refusal
                    self._record.acted(CALLER.get(), request.method, request.scope["path"], outcome)
            return response

        return recorded

    async def _identify(self, request: Request, path: str) -> AccessKey | None:
        """Raises AccessDenied, StoreUnavailable."""
        try:
            return await self._lanework.keyring.identify(requests.header(request, b"authorization"))
        except StoreUnavailable:
            if path == "/metrics" and self._lanework.keyring.may_be_open:
                return None  # there is nothing to show but that Redis is away
            raise

    async def _admit(self, key: AccessKey, scope: str, request: Request, path: str, is_streamed: bool) -> None:
        """Raises AccessForbidden and RateExceeded, before anything is stored."""
        if key.rate:
            await admit(self._lanework.access, key)
        key.require(scope)
        if scope == "enqueue" and (is_streamed or requests.wait(request)):
            key.require("read")
        if path in OF_ALL and key.functions:
            raise AccessForbidden(f"this is of all functions, and the access key {key.name} is not")
