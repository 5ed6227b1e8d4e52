"""The gateway: a Starlette application that enqueues and reports, and knows functions through Redis alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runtime import log, metrics
from runtime.client import Lanework
from runtime.errors import LaneworkError
from runtime.gateway.batch import BatchApi
from runtime.gateway.hosts import Hosts
from runtime.gateway.operations import OperationsApi
from runtime.gateway.problems import from_error, problem
from runtime.gateway.routes import Api
from runtime.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


def create_app(settings: Settings) -> Gateway:
    """The application; it may start before Redis does, and answers 503 until then."""
    lanework = Lanework(settings)
    api, batch, operations = Api(lanework), BatchApi(lanework), OperationsApi(lanework)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await lanework.close()

    routes = [
        _route("/jobs", POST=api.create, GET=api.list),
        _route("/jobs/batch", POST=batch.create),
        _route("/jobs/pause", POST=operations.pause, GET=operations.paused),
        _route("/jobs/resume", POST=operations.resume),
        _route("/jobs/{id}", GET=api.show, DELETE=operations.cancel, PATCH=operations.move),
        _route("/jobs/{id}/cancel", POST=operations.cancel),
        _route("/jobs/{id}/retry", POST=operations.retry),
        _route("/jobs/{id}/run", POST=operations.run),
        _route("/jobs/{id}/result", GET=api.result),
        _route("/job", POST=api.create),
        _route("/job/{id}", GET=api.show),
        _route("/functions", GET=api.functions),
        _route("/functions/{function}", GET=operations.function),
        _route("/functions/{function}/jobs", POST=api.create_for, DELETE=operations.clear),
        _route("/functions/{function}/pause", POST=operations.pause),
        _route("/functions/{function}/resume", POST=operations.resume),
        _route("/functions/{function}/dead", GET=operations.dead, DELETE=operations.purge),
        _route("/functions/{function}/dead/replay", POST=operations.replay),
        _route("/lanes/{lane}/pause", POST=operations.pause),
        _route("/lanes/{lane}/resume", POST=operations.resume),
        _route("/workers", GET=api.workers),
        _route("/healthz", GET=api.alive),
        _route("/readyz", GET=api.ready),
        _route("/health", GET=api.ready),
        _route("/metrics", GET=api.metrics),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_problem})  # type: ignore[dict-item]
    app.router.redirect_slashes = False  # to wherever the Host header says
    return Gateway(app, Hosts(settings))


class Gateway:
    """The application behind a look-up of paths without parameters, which cost a third less so."""

    def __init__(self, app: Starlette, hosts: Hosts) -> None:
        self.routes = app.routes
        self._app = app
        self._hosts = hosts
        self._fixed = {
            route.path: route.app for route in app.routes if isinstance(route, Route) and not route.param_convertors
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif reason := self._hosts.refuse(scope):
            await problem(421, "host-unknown", reason)(scope, receive, send)
        else:
            await self._fixed.get(scope["path"], self._app)(scope, receive, send)


class _Endpoint:
    """A path's handlers as an ASGI application: it turns its own errors into problems, and so needs
    none of the layers that Starlette puts round a plain function, or round all of them."""

    def __init__(self, path: str, handlers: dict[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers | ({"HEAD": handlers["GET"]} if "GET" in handlers else {})
        self._codes: dict[tuple[str, int], tuple[str, str, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        handler = self._handlers.get(method)
        try:
            response = await handler(Request(scope, receive)) if handler else self._refuse(method)
        except LaneworkError as error:
            response = from_error(error)
        except ClientDisconnect:
            return
        except Exception as error:
            log.get("gateway").error("request.failed", method=method, path=scope["path"], exc_info=error)
            response = problem(500, "internal-error", "the gateway failed; its log has the cause")
        self._count(method if handler else "other", response.status_code)
        await response(scope, receive, send)

    def _refuse(self, method: str) -> Response:
        allowed = ", ".join(sorted(self._handlers))
        detail = f"{self._path} answers {allowed}, not {method[:20]}"
        return problem(405, "method-not-allowed", detail, {"Allow": allowed})

    def _count(self, method: str, code: int) -> None:
        labels = self._codes.get((method, code))
        if labels is None:
            labels = self._codes[method, code] = (self._path, method, str(code))
        metrics.requests[labels] += 1


def _route(path: str, **handlers: Handler) -> Route:
    return Route(path, _Endpoint(path, handlers))


async def _http_problem(request: Request, error: HTTPException) -> Response:
    """What the router refuses: a path that is not there."""
    code = "no-such-path" if error.status_code == 404 else "http-error"
    return problem(error.status_code, code, f"{request.url.path} is not part of the API", dict(error.headers or {}))
