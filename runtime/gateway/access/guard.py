"""Asks for access in front of handlers, which know nothing of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from runtime import log
from runtime.errors import AccessDenied, AccessForbidden, LaneworkError, RateExceeded
from runtime.gateway import requests, streams
from runtime.gateway.access.caller import CALLER, charge
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.access.scopes import OF_ALL, scope_of
from runtime.gateway.endpoint import Handler, Paths
from runtime.store.access import AccessKey

_REFUSALS = (AccessDenied, AccessForbidden, RateExceeded)


class Guard:
    """Lets requests through to handlers by what their access key allows."""

    def __init__(self, lanework: GuardedLanework) -> None:
        self._lanework = lanework
        self._log = log.get("gateway")

    def guarded(self, paths: Paths) -> Paths:
        """The paths, each handler behind the guard but those that are open to all."""
        return {
            path: {method: self._guarded(handler, method, path) for method, handler in handlers.items()}
            for path, handlers in paths.items()
        }

    def _guarded(self, handler: Handler, method: str, path: str) -> Handler:
        scope = scope_of(method, path)
        if scope is None:
            return handler

        async def guarded(request: Request) -> Response:
            key: AccessKey | None = None
            outcome: int | str | None = "failed"
            try:
                key = await self._lanework.keyring.identify(requests.header(request, b"authorization"))
                if key is not None:
                    await self._admit(key, scope, request, path)
                    CALLER.set(key)
                response = await handler(request)
                outcome = response.status_code
            except LaneworkError as error:
                outcome = error.code
                if isinstance(error, _REFUSALS):
                    outcome = None
                    self._tell("access.refused", key, request, code=error.code, why=str(error))
                raise
            finally:
                if scope == "operate" and outcome is not None:
                    self._tell("operator.acted", key, request, outcome=outcome)
            return response

        return guarded

    async def _admit(self, key: AccessKey, scope: str, request: Request, path: str) -> None:
        """Raises AccessForbidden and RateExceeded, before anything is stored."""
        streamed = streams.is_wanted(request)
        needed = {scope, "read"} if scope == "enqueue" and (streamed or requests.wait(request)) else {scope}
        for each in sorted(needed):
            key.require(each)
        if path in OF_ALL and key.functions:
            raise AccessForbidden(f"this is of all functions, and the access key {key.name} is not")
        if streamed:
            self._lanework.check_streams(key)
        await charge(self._lanework.access, key, 1)

    def _tell(self, event: str, key: AccessKey | None, request: Request, **fields: object) -> None:
        name = None if key is None else key.name
        self._log.info(event, key=name, method=request.method, path=request.url.path, **fields)
