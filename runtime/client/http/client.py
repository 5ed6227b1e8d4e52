"""The methods of `Lanework`, asked of a gateway.

async with connect("http://gateway:8080", key="lw_…") as lanework:
    job = await lanework.enqueue("math", {"a": 5, "b": 3})
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any

from typing_extensions import Unpack

from runtime import settings
from runtime.client.bulk import Stored, with_keys
from runtime.client.client import LIST_FIELDS, JobQuery, Submitted
from runtime.client.connection import every_type
from runtime.client.http import read
from runtime.client.http.following import Following
from runtime.client.http.operating import Operating
from runtime.client.http.transport import Transport, by_key_alone, error_of, packed, segment
from runtime.client.publishing import Published
from runtime.errors import LaneworkError
from runtime.jobs.event import Event
from runtime.jobs.job import Job
from runtime.jobs.request import ClientOptions, JobRequest
from runtime.settings import Settings
from runtime.store.listing import Page
from runtime.values import durations, ids
from runtime.values.clock import now_ms, rfc3339

_PART = 1000  # jobs or events of one request
_LONGEST = 55.0  # seconds that one request waits


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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def enqueue(self, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> Job:
        return (await self.submit(JobRequest(type, payload, **options))).job

    async def submit(self, request: JobRequest, *, lenient: bool = False) -> Submitted:
        headers = {"Prefer": "handling=lenient"} if lenient else {}
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        reply = await self._transport.ask("POST", "/jobs", _body(request), headers=headers)
        shown = reply.json()
        return Submitted(read.job(shown), reply.status_code == 202, shown.get("warnings", ()))

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Stored | LaneworkError]:
        results: list[Stored | LaneworkError] = []
        for start in range(0, len(requests), _PART):
            part = [_item(request) for request in requests[start : start + _PART]]
            try:
                reply = await self._transport.ask("POST", "/jobs/batch", part, timeout=60)
            except LaneworkError as error:
                return [*results, *[error] * (len(requests) - start)]
            results += [_stored(result) for result in reply.json()["results"]]
        return results

    async def enqueue_many(
        self,
        type: str,
        payloads: Iterable[Any],
        *,
        keys: Iterable[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> list[str]:
        """As `Lanework.enqueue_many`; payloads are checked part by part, of 1,000 jobs each."""
        stored: list[str] = []
        pairs = with_keys(payloads, keys)
        while part := list(islice(pairs, _PART)):
            requests = [JobRequest(type, payload, **options) for payload, _ in part]
            for request, (_, key) in zip(requests, part, strict=True):
                request.key = key if key is not None else request.key
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
        results: list[Published | LaneworkError] = []
        kind = "application/cloudevents-batch+json"
        for start in range(0, len(events), _PART):
            part = events[start : start + _PART]
            body = packed([{**event.attributes, "data": data} for event, data in part])
            try:
                reply = await self._transport.ask("POST", "/events", body, kind=kind, timeout=60)
            except LaneworkError as error:
                return [*results, *[error] * (len(events) - start)]
            for (event, _), shown in zip(part, reply.json()["results"], strict=True):
                is_refused = "problem" in shown
                results.append(
                    error_of(shown["problem"]) if is_refused else Published(event, shown["jobs"], shown["new"])
                )
        return results

    async def get(self, job_id: str) -> Job:
        return read.job((await self._transport.ask("GET", f"/jobs/{segment(job_id)}")).json())

    async def wait(self, job: Job | str, timeout: float) -> Job:
        job_id, deadline = job if isinstance(job, str) else job.id, time.monotonic() + timeout
        while True:
            left = max(0.0, min(_LONGEST, deadline - time.monotonic()))
            path, headers = f"/jobs/{segment(job_id)}", {"Prefer": f"wait={max(1, int(left))}"} if left else {}
            found = read.job((await self._transport.ask("GET", path, headers=headers, timeout=left + 10)).json())
            if found.settled or time.monotonic() >= deadline:
                return found

    async def page(self, **query: Unpack[JobQuery]) -> Page:
        by_key_alone(query.get("visible") or every_type)
        asked: dict[str, Any] = {name: value for name, value in query.items() if name != "visible"}
        asked["fields"] = ",".join(query.get("fields", LIST_FIELDS))
        for name in ("after", "before"):
            if asked.get(name) is not None:
                asked[name] = durations.unix_ms(asked[name])
        return read.page((await self._transport.ask("GET", "/jobs", query=asked)).json())


def _body(request: JobRequest) -> dict[str, Any]:
    """What `JobRequest.parse` reads."""
    options = {name: value for name, value in request.as_options().items() if name not in ("key", "then")}
    return {**options, **({"then": [_body(one) for one in request.then]} if request.then else {})}


def _item(request: JobRequest) -> Mapping[str, Any]:
    return _body(request) if request.key is None else {**_body(request), "idempotency_key": request.key}


def _stored(result: Mapping[str, Any]) -> Stored | LaneworkError:
    return error_of(result["problem"]) if "problem" in result else Stored(result["id"], result["new"])
