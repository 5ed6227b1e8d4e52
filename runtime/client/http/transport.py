"""Requests to a gateway, and its problems as the errors that they stand for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import orjson

from runtime import errors, tracing
from runtime.client.connection import every_type
from runtime.errors import JobInvalid, LaneworkError, PayloadInvalid, SettingsInvalid, StoreUnavailable
from runtime.handlers.policy import NAME
from runtime.settings import Settings
from runtime.values import codec, ids

_TIME = 10.0
_ERRORS: dict[str, type[LaneworkError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LaneworkError) and kind is not LaneworkError
}


class Answer(NamedTuple):
    """A success, and its JSON."""

    status: int
    body: Any


class Transport:
    """A pool of connections to one gateway."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsInvalid for a URL or an access key that is none."""
        key = settings.key.get_secret_value()
        if not re.fullmatch("[!-~]*", key):  # an error about the header would show it
            raise SettingsInvalid("LANEWORK_KEY is no access key: those begin with lw_, and have no spaces")
        url, headers = _checked(settings.url, has_key=bool(key)), {"Authorization": f"Bearer {key}"} if key else {}
        self._loop: asyncio.AbstractEventLoop | None = None  # whose connections these are
        self._short = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False)
        # those that wait have connections without a limit: they must not keep the others waiting
        endless = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._long = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, limits=endless)

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
        waits: bool = False,
    ) -> Answer:
        """The answer, if it is a success. `waits`: whether the gateway may take its time. Raises the error that its
        problem stands for, StoreUnavailable where the gateway does not answer, and LoopChanged."""
        self._check_event_loop()
        sent = dict(headers or {}) | (trace.headers if (trace := tracing.current()) else {})
        content = None
        if body is not None:
            content, sent["Content-Type"] = body if isinstance(body, bytes) else packed(body), kind
        known = {name: value for name, value in (query or {}).items() if value is not None}
        with _translated():
            reply = await (self._long if waits else self._short).request(
                method, path, content=content, params=known, headers=sent, timeout=httpx.Timeout(timeout, pool=60)
            )
        if not reply.is_success:
            raise error_of(problem_of(reply))
        try:
            return Answer(reply.status_code, codec.from_json(reply.content))
        except ValueError:
            raise StoreUnavailable(f"what answers at {path} is no gateway: it sent no JSON") from None

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, Any], headers: Mapping[str, str], timeout: float
    ) -> AsyncIterator[httpx.Response]:
        """A stream of events. `timeout`: seconds without a sign of life. Raises as `ask`."""
        known = {name: value for name, value in query.items() if value is not None}
        sent = {**headers, "Accept": "text/event-stream"}
        self._check_event_loop()
        with _translated():
            async with self._long.stream(
                "GET", path, params=known, headers=sent, timeout=httpx.Timeout(_TIME, read=timeout)
            ) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise error_of(problem_of(reply))
                yield reply

    async def close(self) -> None:
        await self._short.aclose()
        await self._long.aclose()

    def _check_event_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise errors.LoopChanged
            self._loop = loop


@contextmanager
def _translated() -> Iterator[None]:
    """Turns httpx's errors into ours."""
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise StoreUnavailable(f"the gateway does not answer: {str(error) or type(error).__name__}") from error


def by_key_alone(visible: Callable[[str], bool]) -> None:
    """Raises ValueError for a choice that over HTTP is not the caller's."""
    if visible is not every_type:
        raise ValueError("visible: over HTTP, the access key says which types are")


def _checked(url: str, *, has_key: bool) -> str:
    """Raises SettingsInvalid for what is not the URL of a gateway; it may have secrets, and is not shown."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it is http:// or https://, a host, and perhaps a port and a path")
        _ = parts.port, httpx.URL(url)
    except (ValueError, httpx.InvalidURL, UnicodeError) as error:
        reason = "" if "@" in url else f": {error}"
        raise SettingsInvalid(f"this is not the URL of a gateway{reason}") from None
    if has_key and "@" in parts.netloc:
        raise SettingsInvalid(
            "the gateway's URL has a user and there is an access key: one of them goes out, give one"
        )
    return url


def job_path(job_id: str) -> str:
    """Raises JobNotFound for what is no job's id."""
    if not isinstance(job_id, str) or not ids.is_id(job_id):
        raise errors.JobNotFound(str(job_id))
    return f"/jobs/{job_id}"


def function_path(name: str) -> str:
    """Raises FunctionUnknown for what is no function's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise errors.FunctionUnknown(str(name))
    return f"/functions/{name}"


def segment(text: str) -> str:
    """Text at the end of a path, whatever it has in it (RFC 3986)."""
    return quote(text, safe="", errors="replace").replace(".", "%2E")


def plain(value: Any, function: str) -> Any:
    """A value as it is stored, for JSON. Raises PayloadInvalid for what cannot be, bytes among it."""
    try:
        value = codec.unpack(codec.pack_shown(value))
        orjson.dumps(value, default=_refuse, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        reason = "bytes are no JSON; send them as base64" if _has_bytes(value) else error
        raise PayloadInvalid(function, [{"field": "", "message": f"cannot be sent: {reason}"}]) from None
    return value


def packed(value: Any) -> bytes:
    """JSON of what is plain but for times. Raises JobInvalid for anything else."""
    try:
        return orjson.dumps(value, default=_refuse, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError) as error:
        message = f"cannot be sent: {error}"
        raise JobInvalid(message, [{"field": "", "message": message}]) from None


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


def _has_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    return isinstance(value, bytes) or (isinstance(value, (list, tuple)) and any(map(_has_bytes, value)))


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
        details.errors, details.function = problem.get("errors", []), ""
    if isinstance(error, errors.FunctionUnknown):
        details.near, details.name = problem.get("near", []), ""
    if isinstance(error, (errors.QueueFull, errors.RateExceeded)):
        details.retry_after = int(problem.get("retry_after") or 1)
    return error
