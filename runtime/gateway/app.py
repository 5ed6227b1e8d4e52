"""The gateway: a Starlette application that enqueues and reports, and knows functions through Redis alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime import tracing
from runtime.gateway import (
    batch,
    changes,
    connect,
    cors,
    description,
    events,
    hooks,
    operations,
    outputs,
    past,
    problem_pages,
    routes,
    scale,
    stats,
)
from runtime.gateway.access.caller import CALLER
from runtime.gateway.access.guard import Guard
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.access.keyring import needs_keys
from runtime.gateway.endpoint import Endpoint, Paths, named
from runtime.gateway.grpc_port import GrpcPort
from runtime.gateway.hosts import Hosts
from runtime.gateway.problems import problem
from runtime.gateway.requests import named_headers
from runtime.log import REQUEST
from runtime.settings import Settings
from runtime.values import request_ids

_LAST = re.compile(r"(/[^{}]*)/\{(\w+)\}")  # a path with one parameter, which is its last segment

# the core first; each further part is put on beside it, and knows nothing of the others
PARTS: tuple[Callable[[GuardedLanework], Paths], ...] = (
    routes.paths,
    batch.paths,
    outputs.paths,
    hooks.paths,
    events.paths,
    changes.paths,
    operations.paths,
    scale.paths,
    stats.paths,
    past.paths,
    connect.paths,
    description.paths,
    problem_pages.paths,
)


def create_app(settings: Settings) -> Gateway:
    """The application; it may start before Redis does, and answers 503 until then."""
    lanework = GuardedLanework(settings, required=needs_keys(settings))
    grpc = GrpcPort(lanework, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with grpc.served():
            yield
        await lanework.close()

    app = Starlette(
        routes=[
            Route(path, Endpoint(path, handlers, connect.explain)) for path, handlers in _paths(lanework).items()
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_problem},  # type: ignore[dict-item]
    )
    app.router.redirect_slashes = False  # to wherever the Host header says
    return Gateway(app, settings, [lanework.release, grpc.leave])


def _paths(lanework: GuardedLanework) -> Paths:
    """All parts' handlers behind the guard; several parts may share a path."""
    paths: Paths = {}
    for part in PARTS:
        for path, handlers in part(lanework).items():
            paths.setdefault(path, {}).update(handlers)
    return Guard(lanework).guarded(paths)


class Gateway:
    """The application behind a look-up of paths without parameters, and with one at their end, which cost less so.

    Each request has an id, its own `X-Request-Id` or a new one, which its reply and its log lines carry.
    """

    def __init__(self, app: Starlette, settings: Settings, leaving: Sequence[Callable[[], None]]) -> None:
        """`leaving`: what is to be told before it leaves."""
        self.routes = app.routes
        self._leaving = leaving
        self._app = app
        self._hosts = Hosts(settings)
        self._origins = frozenset(settings.cors)
        self._answer = cors.allowing(self._route, settings.cors)
        routes = [route for route in app.routes if isinstance(route, Route)]
        self._fixed = {route.path: route.app for route in routes if not route.param_convertors}
        named = [(route, _LAST.fullmatch(route.path)) for route in routes]
        self._last = {found[1]: (found[2], route.app) for route, found in named if found}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # all of them, whatever they are: the server may have made this task in the context of an earlier request
        headers = named_headers(scope)
        own = headers.get(b"x-request-id")
        REQUEST.set(request_ids.named(None if own is None else own.decode("latin-1")))
        CALLER.set(None)
        tracing.CURRENT.set(_trace(headers))
        scope["lanework.origins"] = self._origins
        await self._answer(scope, receive, send)

    def release(self) -> None:
        """Ends requests that wait, each with its job as it is."""
        for tell in self._leaving:
            tell()

    def _route(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        reason = self._hosts.refuse(scope)
        app = self._app_for(scope) if reason is None else named(problem(421, "host-unknown", reason))
        return app(scope, receive, send)

    def _app_for(self, scope: Scope) -> ASGIApp:
        path = scope["path"]
        if (fixed := self._fixed.get(path)) is not None:
            return fixed
        start, _, last = path.rpartition("/")
        if last and (found := self._last.get(start)) is not None:
            name, app = found
            scope["path_params"] = {name: last}
            return app
        return self._app


def _trace(headers: Mapping[bytes, bytes]) -> tracing.Trace | None:
    parent = headers.get(b"traceparent")
    if parent is None:
        return None
    return tracing.parse(parent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))


async def _http_problem(request: Request, error: HTTPException) -> Response:
    """What the router refuses: a path that is not there."""
    code = "no-such-path" if error.status_code == 404 else "http-error"
    return named(
        problem(error.status_code, code, f"{request.url.path} is not part of the API", dict(error.headers or {}))
    )
