"""The methods of `Lanework`, asked of a gateway.

async with connect("http://gateway:8080", key="lw_…") as lanework:
    job = await lanework.enqueue("math", {"a": 5, "b": 3})
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any

from typing_extensions import Unpack

from runtime import settings
from runtime.client.bulk import Stored, check_payloads, with_keys
from runtime.client.client import Submitted
from runtime.client.connection import every_type
from runtime.client.http import read
from runtime.client.http.following import Following
from runtime.client.http.operations import Operating
from runtime.client.http.sending import body, event_item, line, parts
from runtime.client.http.transport import Transport, by_key_alone, error_of, job_path, packed
from runtime.client.lists import LIST_FIELDS, JobQuery
from runtime.client.publishing import Published
from runtime.errors import LaneworkError, StoreUnavailable
from runtime.handlers.handle import open_clients
from runtime.jobs.event import Event
from runtime.jobs.job import Job
from runtime.jobs.request import ClientOptions, JobRequest
from runtime.settings import Settings
from runtime.store.pages import Page
from runtime.values import durations, ids
from runtime.values.clock import now_ms, rfc3339

_PART = 1000  # jobs that are checked and sent together
_LONGEST = 55.0  # seconds that one request waits
_PAUSE = 0.2  # seconds between two that did not


class LaneworkHttp(Following, Operating):
    """A connection to a gateway. Its methods do and raise what those of `Lanework` do; StoreUnavailable where the
    gateway does not answer, and AccessDenied, AccessForbidden, RateExceeded by its access key. What they take as
    `visible` is the access key's to say."""

    def __init__(self, loaded: Settings | None = None) -> None:
        """`loaded`: its `url` and `key` are the gateway's and the access key. Raises SettingsInvalid."""
        self.settings = loaded or settings.load()
        self._transport = Transport(self.settings)

    async def __aenter__(self) -> LaneworkHttp:
        """Raises StoreUnavailable where the gateway does not answer."""
        try:
            await self.check()
        except BaseException:
            await self.close()
            raise
        open_clients.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        open_clients.remove(self)
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> Job:
        return (await self.submit(JobRequest(type, payload, **options))).job

    async def submit(self, request: JobRequest, *, lenient: bool = False) -> Submitted:
        headers = {"Prefer": "handling=lenient"} if lenient else {}
        sent = body(request)
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        status, shown = await self._transport.ask("POST", "/jobs", packed(sent), headers=headers)
        return Submitted(read.job(shown), status == 202, shown.get("warnings", ()))

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Stored | LaneworkError]:
        lines = [_or_error(line, request) for request in requests]
        results = await self._in_parts("/jobs/batch", "application/x-ndjson", b"\n", b"", b"", lines)
        return [
            result if isinstance(result, LaneworkError) else Stored(result["id"], result["new"])
            for result in results
        ]

    async def _in_parts(
        self,
        path: str,
        kind: str,
        between: bytes,
        first: bytes,
        last: bytes,
        items: Sequence[bytes | LaneworkError],
    ) -> list[dict[str, Any] | LaneworkError]:
        """What came of each item; one that cannot be sent has its error."""
        answers: list[dict[str, Any] | LaneworkError] = []
        for part in parts(items):
            try:
                sent = first + between.join(part) + last
                reply = await self._transport.ask("POST", path, sent, kind=kind, timeout=60)
                answers += [error_of(one["problem"]) if "problem" in one else one for one in reply.body["results"]]
            except LaneworkError as error:
                answers += [error] * len(part)
        found = iter(answers)
        return [item if isinstance(item, LaneworkError) else next(found) for item in items]

    async def enqueue_many(
        self,
        type: str,
        payloads: Iterable[Any],
        *,
        keys: Iterable[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> list[str]:
        """As `Lanework.enqueue_many`; payloads are checked part by part, of 1,000 jobs each."""
        check_payloads(payloads)
        template = JobRequest(type, **options)
        stored: list[str] = []
        pairs = with_keys(payloads, keys)
        while part := list(islice(pairs, _PART)):
            requests = [replace(template, payload=payload, key=key or template.key) for payload, key in part]
            results = await self.submit_many(requests)
            stored += [result.id for result in results if isinstance(result, Stored)]
            for result in results:
                if isinstance(result, LaneworkError):
                    result.stored = stored
                    raise result
        return stored

    async def publish(
        self,
        type: str,
        data: Any = None,
        *,
        source: str = "lanework",
        id: str | None = None,
        **attributes: str | int | bool | None,
    ) -> Published:
        event_id = ids.new_id(0) if id is None else id
        event = Event.of({"time": rfc3339(now_ms()), **attributes, "type": type, "source": source, "id": event_id})
        (published,) = await self.publish_many([(event, data)])
        if isinstance(published, LaneworkError):
            raise published
        return published

    async def publish_many(
        self, events: Sequence[tuple[Event, Any]], *, visible: Callable[[str], bool] = every_type
    ) -> list[Published | LaneworkError]:
        by_key_alone(visible)
        items = [_or_error(event_item, event, data) for event, data in events]
        results = await self._in_parts("/events", "application/cloudevents-batch+json", b",", b"[", b"]", items)
        return [
            result if isinstance(result, LaneworkError) else Published(event, result["jobs"], result["new"])
            for (event, _), result in zip(events, results, strict=True)
        ]

    async def get(self, job_id: str) -> Job:
        return read.job((await self._transport.ask("GET", job_path(job_id))).body)

    async def wait(self, job: Job | str, timeout: float) -> Job:
        """As `Lanework.wait`; a gateway that does not answer meanwhile is asked again until the time is over."""
        job_id, deadline = job if isinstance(job, str) else job.id, time.monotonic() + timeout
        path = job_path(job_id)
        while True:
            left = min(_LONGEST, deadline - time.monotonic())
            headers = {"Prefer": f"wait={int(left)}"} if left >= 1 else {}
            try:
                reply = await self._transport.ask(
                    "GET", path, headers=headers, timeout=max(0, left) + 10, waits=True
                )
                found = read.job(reply.body)
                if found.settled or time.monotonic() >= deadline:
                    return found
            except StoreUnavailable:
                if time.monotonic() >= deadline:
                    raise
            # a gateway that leaves answers at once, and what is left of the time may be less than a second
            await asyncio.sleep(max(0.0, min(_PAUSE, deadline - time.monotonic())))

    async def page(self, **query: Unpack[JobQuery]) -> Page:
        by_key_alone(query.get("visible") or every_type)
        params: dict[str, Any] = {
            name: value for name, value in query.items() if name not in ("visible", "payload")
        }
        params |= {f"payload.{path}": value for path, value in (query.get("payload") or {}).items()}
        params["fields"] = ",".join(query.get("fields", LIST_FIELDS))
        for name in ("after", "before"):
            if params.get(name) is not None:
                params[name] = rfc3339(durations.unix_ms(params[name]))
        return read.page((await self._transport.ask("GET", "/jobs", query=params)).body)


def _or_error(make: Callable[..., bytes], *arguments: Any) -> bytes | LaneworkError:
    try:
        return make(*arguments)
    except LaneworkError as error:
        return error
