"""Requests to a gateway, and its problems as the errors that they stand for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from pydantic_core import to_jsonable_python

from runtime import errors, tracing
from runtime.client.connection import every_type
from runtime.errors import JobInvalid, LaneworkError, PayloadInvalid, SettingsInvalid, StoreUnavailable
from runtime.settings import Settings
from runtime.values import codec

_TIME = 10.0
_ERRORS: dict[str, type[LaneworkError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LaneworkError) and kind is not LaneworkError
}


class Transport:
    """A pool of connections to one gateway."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsInvalid for a URL or an access key that is none."""
        key = settings.key.get_secret_value()
        if not re.fullmatch("[!-~]*", key):  # an error about the header would show it
            raise SettingsInvalid("LANEWORK_KEY is no access key: those begin with lw_, and have no spaces")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self.http = httpx.AsyncClient(base_url=settings.url, headers=headers, timeout=_TIME, trust_env=False)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise SettingsInvalid(f"{settings.url!r} is not the URL of a gateway ({error})") from None

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIME,
        kind: str = "application/json",
    ) -> httpx.Response:
        """The answer, if it is a success. Raises the error that its problem stands for, StoreUnavailable where the
        gateway does not answer."""
        sent = dict(headers or {}) | (trace.headers if (trace := tracing.current()) else {})
        content = None
        if body is not None:
            content, sent["Content-Type"] = body if isinstance(body, bytes) else packed(body), kind
        known = {name: value for name, value in (query or {}).items() if value is not None}
        with _translated():
            reply = await self.http.request(
                method, path, content=content, params=known, headers=sent, timeout=timeout
            )
        if reply.is_error:
            raise error_of(problem_of(reply))
        return reply

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, Any], headers: Mapping[str, str], timeout: float
    ) -> AsyncIterator[httpx.Response]:
        """A stream of events. `timeout`: seconds without a sign of life. Raises as `ask`."""
        known = {name: value for name, value in query.items() if value is not None}
        sent = {**headers, "Accept": "text/event-stream"}
        with _translated():
            async with self.http.stream(
                "GET", path, params=known, headers=sent, timeout=httpx.Timeout(_TIME, read=timeout)
            ) as reply:
                if reply.is_error:
                    await reply.aread()
                    raise error_of(problem_of(reply))
                yield reply

    async def close(self) -> None:
        await self.http.aclose()


class _translated:  # used as a statement
    """Turns httpx's errors into ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (httpx.HTTPError, httpx.StreamError)):
            raise StoreUnavailable(f"the gateway does not answer: {error or type(error).__name__}") from error


def by_key_alone(visible: Callable[[str], bool]) -> None:
    """Raises ValueError for a choice that over HTTP is not the caller's."""
    if visible is not every_type:
        raise ValueError("visible: over HTTP, the access key says which types are")


def segment(text: str) -> str:
    """A name or an id as one segment of a path, whatever it has in it (RFC 3986)."""
    return quote(text, safe="", errors="replace").replace(".", "%2E")


def packed(value: Any) -> bytes:
    """JSON. Raises JobInvalid for what JSON cannot show, bytes among them: base64 is what a gateway takes."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        message = f"cannot be sent as JSON: {error}"
        raise JobInvalid(message, [{"field": "/payload", "message": message}]) from None


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("bytes are no JSON; send them as base64")
    return to_jsonable_python(value)


def problem_of(reply: httpx.Response) -> dict[str, Any]:
    """The problem in an answer; what a proxy says is one too."""
    try:
        problem = codec.from_json(reply.content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "type" not in problem:
        code = "store-unavailable" if reply.status_code >= 500 else "http-error"
        problem = {"type": f"/problems/{code}", "detail": f"the gateway answered {reply.status_code}"}
    return {"retry_after": reply.headers.get("retry-after"), **problem}


def error_of(problem: Mapping[str, Any]) -> LaneworkError:
    """The error of its code; one that is the gateway's alone is a LaneworkError with that code."""
    code = str(problem["type"]).rpartition("/")[2]
    kind = _ERRORS.get(code, LaneworkError)
    error = kind.__new__(kind)
    Exception.__init__(error, problem.get("detail", code))
    details: Any = error
    if kind is LaneworkError:
        details.code = code
    if isinstance(error, (PayloadInvalid, JobInvalid, errors.EventInvalid)):
        details.errors = problem.get("errors", [])
    if isinstance(error, errors.FunctionUnknown):
        details.near = problem.get("near", [])
    if isinstance(error, (errors.QueueFull, errors.RateExceeded)):
        details.retry_after = int(problem.get("retry_after") or 1)
    return error
