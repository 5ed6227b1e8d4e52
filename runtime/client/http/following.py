"""What happens to jobs, as a gateway tells it: events of a job and of all, output, log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

from httpx_sse import EventSource, SSEError

from runtime.client.changes import JobChange, Positions, Recent
from runtime.client.connection import every_type
from runtime.client.http import read
from runtime.client.http.transport import Transport, by_key_alone, job_path
from runtime.client.watching import JobEvent, Output, Place
from runtime.errors import StoreUnavailable
from runtime.settings import Settings
from runtime.values.durations import unix_ms

_SILENT = 40.0  # seconds; the gateway says every 15 s that it is there


class Following:
    """Events of jobs."""

    settings: Settings
    _transport: Transport

    async def watch(
        self, job_id: str, after: str | None = None, *, alive: float = 15.0
    ) -> AsyncGenerator[JobEvent]:
        """As `Lanework.watch`, without `alive`: the gateway decides that."""
        headers = {} if after is None else {"Last-Event-ID": after}
        path = job_path(job_id)
        async with self._transport.stream(path, query={}, headers=headers, timeout=_SILENT) as reply:
            if reply.status_code != 204:
                async for sent in _events(reply):
                    yield _job_event(job_id, sent)

    async def changes(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
        alive: float = 15.0,
    ) -> AsyncGenerator[JobChange]:
        """As `Lanework.changes`; the gateway decides how often it is `alive`."""
        by_key_alone(visible)
        headers = {} if after is None else {"Last-Event-ID": after}
        query = _filters(types, statuses)
        async with self._transport.stream("/events", query=query, headers=headers, timeout=_SILENT) as reply:
            async for sent in _events(reply):
                yield _change(sent.event, self._positions(sent.id), sent.json())

    async def recent(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
    ) -> Recent:
        by_key_alone(visible)
        shown = (
            await self._transport.ask("GET", "/events", query={"after": after, **_filters(types, statuses)})
        ).body
        position = self._positions(shown["position"])
        return Recent([_change("status", position, one) for one in shown["changes"]], position, shown["gap"])

    async def output(self, job_id: str) -> Output:
        shown = (await self._transport.ask("GET", f"{job_path(job_id)}/output")).body
        return Output(shown["attempt"], shown["dropped"], read.restored(shown["output"]))

    async def log(self, job_id: str) -> list[dict[str, Any]]:
        lines = (await self._transport.ask("GET", f"{job_path(job_id)}/log")).body["lines"]
        return [{**line, "at": unix_ms(line["at"])} if "at" in line else line for line in lines]

    @staticmethod
    def _positions(text: str) -> Positions:
        found = Positions.parse(text, text.count("_") + 1)
        if found is None:
            raise StoreUnavailable(f"the gateway gave a position that is none: {text[:100]!r}")
        return found


async def _events(reply: Any) -> AsyncGenerator[Any]:
    try:
        async for sent in EventSource(reply).aiter_sse():
            yield sent
    except SSEError as error:
        raise StoreUnavailable(f"the gateway sent no events: {error}") from None


def _change(kind: Any, position: Positions, shown: dict[str, Any]) -> JobChange:
    return JobChange(
        kind, position, **{name: shown[name] for name in ("id", "type", "status", "attempt") if name in shown}
    )


def _filters(types: Collection[str], statuses: Collection[str]) -> dict[str, str | None]:
    return {"type": ",".join(types) or None, "status": ",".join(statuses) or None}


def _job_event(job_id: str, sent: Any) -> JobEvent:
    place = Place.parse(sent.id)
    if place is None:
        raise StoreUnavailable(f"the gateway gave a position that is none: {sent.id[:100]!r}")
    data = sent.json()
    if sent.event == "settled":
        job = read.job(data)
        return JobEvent("settled", job_id, place, job.status, job.attempt, job.progress, job)
    if sent.event == "gap":
        return JobEvent("gap", job_id, place, value=data.get("of"), missed=data.get("missed", 0))
    value = read.restored(data.get("output"))
    if sent.event == "log":
        value = {name: part for name, part in data.items() if name not in ("id", "attempt")}
        value["at"] = unix_ms(value["at"]) if "at" in value else None
    status = data.get("status", "running")
    number = data.get("number", 0)
    return JobEvent(
        sent.event, job_id, place, status, data["attempt"], data.get("progress"), number=number, value=value
    )
