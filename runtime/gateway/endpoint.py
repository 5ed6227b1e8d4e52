"""A path's handlers as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime import log, metrics
from runtime.errors import LaneworkError
from runtime.gateway.problems import problem

Handler = Callable[[Request], Awaitable[Response]]
Paths = dict[str, dict[str, Handler]]  # handlers by path and method

_LEAVING = "the gateway stops, and has no answer to this yet; send it again, to another gateway or in a second"


def named(response: Response) -> Response:
    """The response, with the id of the request that it answers."""
    response.raw_headers.append((b"x-request-id", log.REQUEST.get().encode()))
    return response


class Endpoint:
    """It turns its own errors into problems, and so needs none of the layers that Starlette puts round a plain
    function, or round all of them."""

    def __init__(
        self, path: str, handlers: dict[str, Handler], explain: Callable[[str, LaneworkError], Response]
    ) -> None:
        """`explain`: an error as who asks on this path understands it."""
        self._explain = explain
        self._path = path
        self._handlers = handlers | ({"HEAD": handlers["GET"]} if "GET" in handlers else {})
        self._codes: dict[tuple[str, int], tuple[str, str, str]] = {}

    @property
    def methods(self) -> list[str]:
        return [method for method in self._handlers if method != "HEAD"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        handler = self._handlers.get(method)
        try:
            response = await handler(Request(scope, receive)) if handler else self._refuse(method)
        except LaneworkError as error:
            response = self._explain(self._path, error)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server stops and waits no longer for this request
            response = problem(503, "gateway-leaving", _LEAVING, {"Retry-After": "1", "Connection": "close"})
        except Exception as error:
            log.get("gateway").error("request.failed", method=method, path=scope["path"], exc_info=error)
            response = problem(500, "internal-error", "the gateway failed; its log has the cause")
        self._count(method if handler else "other", response.status_code)
        await named(response)(scope, receive, send)

    def _refuse(self, method: str) -> Response:
        allowed = ", ".join(sorted(self._handlers))
        detail = f"{self._path} answers {allowed}, not {method[:20]}"
        return problem(405, "method-not-allowed", detail, {"Allow": allowed})

    def _count(self, method: str, code: int) -> None:
        labels = self._codes.get((method, code))
        if labels is None:
            labels = self._codes[method, code] = (self._path, method, str(code))
        metrics.requests[labels] += 1
