"""The gateway: a Starlette application that enqueues and reports, and knows functions through Redis alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runtime import log, metrics
from runtime.client import Lanework
from runtime.errors import LaneworkError
from runtime.gateway.problems import from_error, problem
from runtime.gateway.routes import Api
from runtime.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


def create_app(settings: Settings) -> Starlette:
    """The application; it may start before Redis does, and answers 503 until then."""
    lanework = Lanework(settings)
    api = Api(lanework)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await lanework.close()

    routes = [
        _route("/jobs", api.create, "POST"),
        _route("/jobs", api.list),
        _route("/jobs/{id}", api.show),
        _route("/jobs/{id}/result", api.result),
        _route("/job", api.create, "POST"),
        _route("/job/{id}", api.show),
        _route("/functions", api.functions),
        _route("/workers", api.workers),
        _route("/healthz", api.alive),
        _route("/readyz", api.ready),
        _route("/health", api.ready),
        _route("/metrics", api.metrics),
    ]
    handlers = {HTTPException: _http_problem, Exception: _unexpected}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]


class _Endpoint:
    """A handler as an ASGI application: it turns its own errors into problems, and so needs none of
    the layers that Starlette puts round a plain function."""

    def __init__(self, path: str, method: str, handler: Handler) -> None:
        self._labels = (path, method)
        self._handler = handler
        self._counters: dict[int, Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._handler(Request(scope, receive))
        except LaneworkError as error:
            response = from_error(error)
        except ClientDisconnect:
            return
        code = response.status_code
        counter = self._counters.get(code)
        if counter is None:
            counter = self._counters[code] = metrics.REQUESTS.labels(*self._labels, str(code))
        counter.inc()
        await response(scope, receive, send)


def _route(path: str, handler: Handler, method: str = "GET") -> Route:
    return Route(path, _Endpoint(path, method, handler), methods=[method])


async def _http_problem(request: Request, error: HTTPException) -> Response:
    """404 and 405 of the router."""
    code = {404: "no-such-path", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    detail = f"{request.method} {request.url.path} is not part of the API"
    return problem(error.status_code, code, detail, dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.get("gateway").error("request.failed", method=request.method, path=request.url.path, exc_info=error)
    return problem(500, "internal-error", "the gateway failed; its log has the cause")
