"""The client for code without an event loop, such as Django's, Flask's and that of `def` handlers.

with LaneworkSync() as lanework:
    job = lanework.enqueue("math", {"a": 5, "b": 3})
    print(lanework.wait(job.id, timeout=10).result)
"""

from __future__ import annotations

import itertools
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar, cast, overload

from typing_extensions import Unpack

from runtime.client.bulk import Stored
from runtime.client.changes import JobChange, Recent
from runtime.client.client import Lanework, Submitted
from runtime.client.client_thread import ClientThread
from runtime.client.connect import connect
from runtime.client.connection import every_type
from runtime.client.counts import Statistics
from runtime.client.lists import JobQuery
from runtime.client.operations import Cleared, Tagged
from runtime.client.publishing import Published
from runtime.client.watching import JobEvent, Output
from runtime.errors import LaneworkError
from runtime.history.bucket import Bucket, Span
from runtime.jobs.event import Event
from runtime.jobs.job import Job, Status
from runtime.jobs.request import ClientOptions, JobRequest
from runtime.settings import Settings
from runtime.store.archive import Lag
from runtime.store.pages import Page
from runtime.store.registry import Deployed, WorkerInfo
from runtime.store.schedules import Ticked
from runtime.store.server import Server
from runtime.store.stats import Depth, Place

_PART = 1000
Result = TypeVar("Result")


class LaneworkSync:
    """As `Lanework`, which has what each method does and raises; each returns when that is done.

    Threads may share one. It connects with the first call, and once more in a process that is forked. Functions and
    iterables that a method is given must not call it themselves, unless they are those of `enqueue_many`.
    """

    def __init__(self, loaded: Settings | None = None, *, url: str | None = None, key: str | None = None) -> None:
        """`url`, `key`: as `connect` has them, in place of settings. Raises ValueError where both are given."""
        if (url is not None and loaded is not None) or (key is not None and url is None):
            raise ValueError("give settings, or url and perhaps key")
        opens = (lambda: Lanework(loaded)) if url is None else (lambda: cast("Lanework", connect(url, key)))
        self._thread = ClientThread(opens)

    def __enter__(self) -> LaneworkSync:
        """Raises StoreError where the server cannot serve."""
        try:
            self.check()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections; calls under way raise StoreUnavailable. The next call would open new ones."""
        self._thread.close()

    # jobs

    def enqueue(self, type: str, payload: Any = None, **options: Unpack[ClientOptions]) -> Job:
        return self._thread.do(lambda client: client.enqueue(type, payload, **options))

    def submit(self, request: JobRequest, *, lenient: bool = False) -> Submitted:
        return self._thread.do(lambda client: client.submit(request, lenient=lenient))

    def submit_many(self, requests: Sequence[JobRequest]) -> list[Stored | LaneworkError]:
        return self._thread.do(lambda client: client.submit_many(requests))

    def enqueue_many(
        self,
        type: str,
        payloads: Iterable[Any],
        *,
        keys: Iterable[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> list[str]:
        """An iterable that is no sequence is read and stored in parts of 1,000."""
        if isinstance(payloads, (Sequence, Mapping)) or not isinstance(payloads, Iterable):
            return self._thread.do(lambda client: client.enqueue_many(type, payloads, keys=keys, **options))
        ids: list[str] = []
        left, left_keys = iter(payloads), None if keys is None else iter(keys)
        while part := list(itertools.islice(left, _PART)):
            own = None if left_keys is None else list(itertools.islice(left_keys, len(part)))
            try:
                ids += self._stored(type, part, own, options)
            except LaneworkError as error:
                error.stored = [*ids, *error.stored]
                raise
        if left_keys is not None and (beyond := list(itertools.islice(left_keys, 1))):
            self._stored(type, [], beyond, options)  # raises: there are more keys than payloads
        return ids

    def _stored(self, type: str, part: list[Any], keys: list[str] | None, options: ClientOptions) -> list[str]:
        return self._thread.do(lambda client: client.enqueue_many(type, part, keys=keys, **options))

    def publish(
        self,
        type: str,
        data: Any = None,
        *,
        source: str = "lanework",
        id: str | None = None,
        **attributes: str | int | bool | None,
    ) -> Published:
        return self._thread.do(lambda client: client.publish(type, data, source=source, id=id, **attributes))

    def publish_many(
        self, events: Sequence[tuple[Event, Any]], *, visible: Callable[[str], bool] = every_type
    ) -> list[Published | LaneworkError]:
        return self._thread.do(lambda client: client.publish_many(events, visible=visible))

    def get(self, job_id: str) -> Job:
        return self._thread.do(lambda client: client.get(job_id))

    @overload
    def wait(self, job: Job[Result], timeout: float) -> Job[Result]: ...
    @overload
    def wait(self, job: str, timeout: float) -> Job: ...
    def wait(self, job: Job[Any] | str, timeout: float) -> Job[Any]:
        return self._thread.do(lambda client: client.wait(job, timeout))

    def watch(self, job_id: str, after: str | None = None, *, alive: float = 15.0) -> Iterator[JobEvent]:
        return self._thread.each(lambda client: client.watch(job_id, after, alive=alive))

    def changes(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
        alive: float = 15.0,
    ) -> Iterator[JobChange]:
        filters: Any = {"types": types, "statuses": statuses, "visible": visible}
        return self._thread.each(lambda client: client.changes(after, **filters, alive=alive))

    def recent(
        self,
        after: str | None = None,
        *,
        types: Collection[str] = (),
        statuses: Collection[str] = (),
        visible: Callable[[str], bool] = every_type,
    ) -> Recent:
        return self._thread.do(lambda client: client.recent(after, types=types, statuses=statuses, visible=visible))

    def output(self, job_id: str) -> Output:
        return self._thread.do(lambda client: client.output(job_id))

    def log(self, job_id: str) -> list[dict[str, Any]]:
        return self._thread.do(lambda client: client.log(job_id))

    def page(self, **query: Unpack[JobQuery]) -> Page:
        return self._thread.do(lambda client: client.page(**query))

    # changes by hand

    def cancel(self, job_id: str) -> Job:
        return self._thread.do(lambda client: client.cancel(job_id))

    def cancel_tree(self, job_id: str, seconds: float, *, visible: Callable[[str], bool] = every_type) -> Cleared:
        return self._thread.do(lambda client: client.cancel_tree(job_id, seconds, visible=visible))

    def cancel_tagged(
        self,
        tag: str,
        statuses: Collection[Status],
        seconds: float,
        *,
        dry_run: bool = False,
        visible: Callable[[str], bool] = every_type,
    ) -> Tagged:
        return self._thread.do(
            lambda client: client.cancel_tagged(tag, statuses, seconds, dry_run=dry_run, visible=visible)
        )

    def find_unique(self, function: str, key: str) -> Job:
        return self._thread.do(lambda client: client.find_unique(function, key))

    def clear(self, function: str, status: Literal["pending", "scheduled"], seconds: float) -> Cleared:
        return self._thread.do(lambda client: client.clear(function, status, seconds))

    def move(
        self,
        job_id: str,
        *,
        run_at: int | str | datetime | None = None,
        delay: float | str | None = None,
    ) -> Job:
        return self._thread.do(lambda client: client.move(job_id, run_at=run_at, delay=delay))

    def retry(self, job_id: str) -> Job:
        return self._thread.do(lambda client: client.retry(job_id))

    def pause(self, *, function: str | None = None, lane: str | None = None) -> None:
        self._thread.do(lambda client: client.pause(function=function, lane=lane))

    def resume(self, *, function: str | None = None, lane: str | None = None) -> None:
        self._thread.do(lambda client: client.resume(function=function, lane=lane))

    def paused(self) -> list[str]:
        return self._thread.do(lambda client: client.paused())

    def dead(self, function: str, *, limit: int = 50, offset: int = 0) -> Page:
        return self._thread.do(lambda client: client.dead(function, limit=limit, offset=offset))

    def replay(
        self, function: str, fits: Callable[[Job], bool], *, every: float = 0.0, limit: int | None = None
    ) -> int:
        return self._thread.do(lambda client: client.replay(function, fits, every=every, limit=limit))

    def purge(self, function: str, fits: Callable[[Job], bool], *, limit: int | None = None) -> int:
        return self._thread.do(lambda client: client.purge(function, fits, limit=limit))

    # what there is

    def check(self) -> None:
        self._thread.do(lambda client: client.check())

    def ping(self) -> None:
        self._thread.do(lambda client: client.ping())

    def check_ready(self) -> None:
        self._thread.do(lambda client: client.check_ready())

    def function(self, name: str) -> Deployed:
        return self._thread.do(lambda client: client.function(name))

    def functions(self) -> dict[str, Deployed]:
        return self._thread.do(lambda client: client.functions())

    def workers(self) -> Sequence[WorkerInfo]:
        return self._thread.do(lambda client: client.workers())

    def depths(self) -> list[Depth]:
        return self._thread.do(lambda client: client.depths())

    def place(self, job_id: str) -> Place | None:
        return self._thread.do(lambda client: client.place(job_id))

    def retry_after(self, function: str) -> int:
        return self._thread.do(lambda client: client.retry_after(function))

    def past(
        self,
        by: Span = "hour",
        *,
        after: int | str | datetime | None = None,
        before: int | str | datetime | None = None,
        function: str | None = None,
    ) -> list[Bucket]:
        return self._thread.do(lambda client: client.past(by, after=after, before=before, function=function))

    def history_lag(self) -> Lag | None:
        return self._thread.do(lambda client: client.history_lag())

    def stats(self) -> Statistics:
        return self._thread.do(lambda client: client.stats())

    def scheduled(self) -> int:
        return self._thread.do(lambda client: client.scheduled())

    def oldest(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        return self._thread.do(lambda client: client.oldest(names))

    def server(self) -> Server:
        return self._thread.do(lambda client: client.server())

    def dead_counts(self, functions: Sequence[str]) -> dict[str, int]:
        return self._thread.do(lambda client: client.dead_counts(functions))

    def ticks(self, function: str, schedules: Sequence[str]) -> list[Ticked | None]:
        return self._thread.do(lambda client: client.ticks(function, schedules))
