"""The client as the caller of a request may use it: with the functions and jobs of the caller's key alone.

Handlers call it as they would call Lanework. A job of another function is not found, and a function that the key is
not for is refused whether it exists or not.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from typing_extensions import Unpack

from runtime import log
from runtime.client import Lanework
from runtime.client.bulk import Stored
from runtime.client.changes import JobChange, Recent
from runtime.client.client import Submitted
from runtime.client.counts import Statistics
from runtime.client.lists import JobQuery
from runtime.client.operations import Cleared, Tagged
from runtime.client.publishing import Published
from runtime.client.watching import JobEvent, Output
from runtime.errors import AccessDenied, AccessForbidden, FunctionUnknown, JobNotFound, LaneworkError, RateExceeded
from runtime.gateway.access.caller import CALLER, admit, charge
from runtime.gateway.access.keyring import Keyring
from runtime.history.bucket import Bucket, Span
from runtime.jobs.event import Event
from runtime.jobs.job import Job, Status
from runtime.jobs.request import JobRequest
from runtime.settings import Settings
from runtime.store.access import AccessKey
from runtime.store.pages import Page
from runtime.store.registry import Deployed, WorkerInfo
from runtime.store.stats import Depth, Place

_OMITTED = ("payload", "result", "history", "children")


class GuardedLanework(Lanework):
    """Every method that a handler of the gateway calls, held against the caller's key. Raises AccessForbidden."""

    def __init__(self, loaded: Settings, *, required: bool) -> None:
        """`required`: whether a key is asked for even where none was made."""
        super().__init__(loaded)
        self.keyring = Keyring(self.access, required=required)
        self._streams: Counter[str] = Counter()  # that are open, by the name of their key
        self._log = log.get("gateway")

    async def authorize(self, authorization: str, scope: str) -> None:
        """For a path that is open to all, where what it does there is not. Raises AccessDenied, AccessForbidden,
        RateExceeded."""
        key = await self.keyring.identify(authorization)
        if key is not None:
            CALLER.set(key)
            await admit(self.access, key)
            key.require(scope)

    @contextmanager
    def stream_reserved(self, key: AccessKey) -> Iterator[None]:
        """A place for a stream until it counts itself. Raises RateExceeded where the key has as many as it may."""
        self.require_stream(key)
        with self._counted(key.name):
            yield

    def require_stream(self, key: AccessKey) -> None:
        """Raises RateExceeded where the key has as many streams as it may."""
        if self._streams[key.name] >= self.settings.stream_limit:
            message = f"the access key {key.name} has {self.settings.stream_limit} streams open, which is its limit"
            raise RateExceeded(message, 1)

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        self._streams[name] += 1
        try:
            yield
        finally:
            self._streams[name] -= 1

    # jobs

    async def submit(self, request: JobRequest, *, lenient: bool = False) -> Submitted:
        key = CALLER.get()
        if key is None:
            return await super().submit(request, lenient=lenient)
        brought = request.brought()
        if key.functions:
            await self.require_functions(request)
        if brought:
            await charge(self.access, brought)
            sign(request, key)
        submitted = await super().submit(request, lenient=lenient)
        if key.allows("read"):
            return submitted
        return submitted._replace(job=_brief(submitted.job, submitted.job.payload if submitted.new else None))

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Stored | LaneworkError]:
        """Each job counts towards the key's rate but the first, which was counted as the request itself."""
        key = CALLER.get()
        if key is None:
            return await super().submit_many(requests)
        if not await self.keyring.is_valid(key):  # since the first part of a long request
            return [AccessDenied(f"the access key {key.name} is no longer valid")] * len(requests)
        results: dict[int, Stored | LaneworkError] = {}
        count = len(requests) - 1
        for index, request in enumerate(requests):
            try:
                count += request.brought()
                await self.require_functions(request)
                sign(request, key)
            except LaneworkError as error:
                results[index] = error
        if foreign := {requests[i].type[:50] for i, error in results.items() if isinstance(error, AccessForbidden)}:
            examples = sorted(foreign)[:5]
            self._log.info(
                "access.refused", key=key.name, code=AccessForbidden.code, functions=examples, jobs=len(results)
            )
        try:
            await charge(self.access, count)
        except LaneworkError as error:
            return [error] * len(requests)
        left = [index for index in range(len(requests)) if index not in results]
        stored = await super().submit_many([requests[index] for index in left])
        results |= zip(left, stored, strict=True)
        return [results[index] for index in range(len(requests))]

    async def publish_many(
        self, events: Sequence[tuple[Event, Any]], *, visible: Callable[[str], bool] | None = None
    ) -> list[Published | LaneworkError]:
        """To the key's functions alone. Each event counts towards the key's rate but the first, which was counted
        as the request itself."""
        await charge(self.access, len(events) - 1)
        return await super().publish_many(events, visible=await self._visible())

    async def get(self, job_id: str) -> Job:
        job = await super().get(job_id)
        if not await self._covers(job.type):
            raise JobNotFound(job_id)
        return job

    async def wait(self, job: Any, timeout: float) -> Job:
        _require("read")
        await self._look(job)
        waited = await super().wait(job, timeout)
        key = CALLER.get()
        if key is not None and not await self.keyring.is_valid(key):
            raise AccessDenied(f"the access key {key.name} is no longer valid")
        return waited

    async def watch(
        self, job_id: str, after: str | None = None, *, alive: float = 15.0
    ) -> AsyncGenerator[JobEvent]:
        """It ends with the first event, or after `alive` seconds without one, once the key is not valid."""
        _require("read")
        key = CALLER.get()
        with self._counted("" if key is None else key.name):
            await self._look(job_id)
            async with aclosing(super().watch(job_id, after, alive=alive)) as events:
                async for event in events:
                    if not await self.keyring.is_valid(key):
                        return
                    yield event

    async def changes(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] | None = None,
        alive: float = 15.0,
    ) -> AsyncGenerator[JobChange]:
        """It ends as `watch` does."""
        filters: Any = {"types": types, "statuses": statuses, "visible": await self._visible()}
        key = CALLER.get()
        with self._counted("" if key is None else key.name):
            async with aclosing(super().changes(after, **filters, alive=alive)) as changes:
                async for change in changes:
                    if not await self.keyring.is_valid(key):
                        return
                    yield change

    async def recent(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] | None = None,
    ) -> Recent:
        return await super().recent(after, types=types, statuses=statuses, visible=await self._visible())

    async def output(self, job_id: str) -> Output:
        await self._look(job_id)
        return await super().output(job_id)

    async def log(self, job_id: str) -> list[dict[str, Any]]:
        await self._look(job_id)
        return await super().log(job_id)

    async def page(self, **query: Unpack[JobQuery]) -> Page:
        if (type := query.get("type")) is not None:
            await self.require_function(type)
        if (parent := query.get("parent")) is not None:
            await self._look(parent)
        query["visible"] = await self._visible()
        return await super().page(**query)

    async def cancel(self, job_id: str) -> Job:
        await self._look(job_id)
        return await super().cancel(job_id)

    async def cancel_tree(
        self, job_id: str, seconds: float, *, visible: Callable[[str], bool] | None = None
    ) -> Cleared:
        await self._look(job_id)
        return await super().cancel_tree(job_id, seconds, visible=await self._visible())

    async def cancel_tagged(
        self,
        tag: str,
        statuses: Collection[Status],
        seconds: float,
        *,
        dry_run: bool = False,
        visible: Callable[[str], bool] | None = None,
    ) -> Tagged:
        return await super().cancel_tagged(tag, statuses, seconds, dry_run=dry_run, visible=await self._visible())

    async def move(
        self, job_id: str, *, run_at: int | str | datetime | None = None, delay: float | str | None = None
    ) -> Job:
        await self._look(job_id)
        return await super().move(job_id, run_at=run_at, delay=delay)

    async def retry(self, job_id: str) -> Job:
        await self._look(job_id)
        return await super().retry(job_id)

    # functions and what is of all of them; what else takes a function's name asks `function` for it first

    async def function(self, name: str) -> Deployed:
        await self.require_function(name)
        return await super().function(name)

    async def functions(self) -> dict[str, Deployed]:
        key = CALLER.get()
        every = await super().functions()
        return every if key is None else {name: fn for name, fn in every.items() if key.covers(fn.serves)}

    async def depths(self) -> list[Depth]:
        return [depth for depth in await super().depths() if await self._covers(depth.function)]

    async def place(self, job_id: str) -> Place | None:
        await self._look(job_id)
        return await super().place(job_id)

    async def stats(self) -> Statistics:
        stats = await super().stats()
        stats.functions = [own for own in stats.functions if await self._covers(own.function)]
        return stats

    async def past(self, by: Span = "hour", **query: Any) -> list[Bucket]:
        if (function := query.get("function")) is not None:
            await self.require_function(function)
        visible = await self._visible()
        return [bucket for bucket in await super().past(by, **query) if visible(bucket.function)]

    async def workers(self) -> Sequence[WorkerInfo]:
        """All of them, with what they have of the key's functions."""
        alive = await super().workers()
        if CALLER.get() is None:
            return alive
        return [
            replace(
                worker,
                functions={name: v for name, v in worker.functions.items() if await self._covers(name)},
                broken={name: trace for name, trace in worker.broken.items() if await self._covers(name)},
            )
            for worker in alive
        ]

    async def paused(self) -> list[str]:
        names = await super().paused()
        kinds = [name.partition(":")[::2] for name in names]
        own = [kind != "function" or await self._covers(name) for kind, name in kinds]
        return list(itertools.compress(names, own))

    async def pause(self, *, function: str | None = None, lane: str | None = None) -> None:
        _require_all(function)
        await super().pause(function=function, lane=lane)

    async def resume(self, *, function: str | None = None, lane: str | None = None) -> None:
        _require_all(function)
        await super().resume(function=function, lane=lane)

    async def _visible(self) -> Callable[[str], bool]:
        """Whether the key is for jobs of a type."""
        key = CALLER.get()
        if key is None or not key.functions:
            return lambda _type: True
        serves = {name: deployed.serves for name, deployed in (await super().functions()).items()}
        return lambda name: key.covers(serves.get(name, name))

    async def _look(self, job: Job | str) -> None:
        """Raises JobNotFound for a job of a function that the key is not for."""
        key = CALLER.get()
        if key is not None and key.functions:
            await self.get(job if isinstance(job, str) else job.id)

    def functions_changed(self) -> None:
        """Has functions read anew when they are next asked for."""
        self._contracts.expire()

    async def require_functions(self, request: JobRequest, *, is_known: bool = True) -> None:
        """The same for a job's function, and those of what follows it."""
        await self.require_function(request.type, is_known=is_known)
        for follow_up in request.then:
            await self.require_functions(follow_up, is_known=is_known)

    async def require_function(self, name: str, *, is_known: bool = True) -> None:
        """Raises AccessForbidden for a function that the key is not for, FunctionUnknown unless it need not be
        known, StoreUnavailable."""
        key = CALLER.get()
        if key is None or not key.functions:
            return
        try:
            serves = (await self._contracts.get(name)).deployed.serves
        except FunctionUnknown as error:
            if is_known and key.covers(name):
                raise FunctionUnknown(name, [near for near in error.near if key.covers(near)]) from None
            serves = name
        if not key.covers(serves):
            what = name[:50] if serves == name else f"{serves}, of which {name} is an alias"
            raise AccessForbidden(f"the access key {key.name} is for {', '.join(key.functions)}, not {what}")

    async def _covers(self, name: str) -> bool:
        """Whether the key is for this function, by its own name; an alias is the same function."""
        key = CALLER.get()
        if key is None or not key.functions:
            return True
        try:
            return key.covers((await self._contracts.get(name)).deployed.serves)
        except FunctionUnknown:
            return key.covers(name)


def _require(scope: str) -> None:
    if (key := CALLER.get()) is not None:
        key.require(scope)


def sign(request: JobRequest, key: AccessKey) -> None:
    """Has callbacks signed with the key's own secret, where it has one."""
    if key.webhook_secret:
        request.signer = key.name
        for follow_up in request.then:
            sign(follow_up, key)


def _require_all(function: str | None) -> None:
    """What is not about one function is about all."""
    key = CALLER.get()
    if function is None and key is not None and key.functions:
        raise AccessForbidden(f"this is of all functions, and the access key {key.name} is not")


def _brief(job: Job, payload: Any) -> Job:
    """A job for a key that may not read: without what came of it, and, where it was there before and so may be
    somebody else's, without its payload."""
    omitted = _OMITTED if payload is None else _OMITTED[1:]
    return replace(
        job,
        payload=payload,
        result=None,
        error=None,
        progress=None,
        event=None,
        attempts=[],
        children=[],
        omitted=omitted,
    )
