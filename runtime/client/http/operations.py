"""What an operator does and looks at, by a gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Literal

from runtime.client.connection import every_type
from runtime.client.counts import Statistics
from runtime.client.http import read
from runtime.client.http.transport import Transport, by_key_alone, function_path, job_path, segment
from runtime.client.operations import Cleared, Tagged
from runtime.errors import JobNotFound, LaneworkError, StatusConflict
from runtime.history.bucket import Bucket, Span
from runtime.jobs.job import Job, Status
from runtime.store.archive import Lag
from runtime.store.pages import Page
from runtime.store.registry import Deployed, WorkerInfo
from runtime.store.schedules import Ticked
from runtime.store.server import Server
from runtime.store.stats import Depth, Place
from runtime.values.clock import rfc3339
from runtime.values.durations import unix_ms

_LONG = 60.0  # seconds for what a gateway does in parts
_PAGE = 500


class Operating:
    """Changes by hand, and figures."""

    _transport: Transport

    async def cancel(self, job_id: str) -> Job:
        return read.job((await self._ask("POST", f"{job_path(job_id)}/cancel")).body)

    async def cancel_tree(
        self, job_id: str, seconds: float, *, visible: Callable[[str], bool] = every_type
    ) -> Cleared:
        """As `Lanework.cancel_tree`; the gateway stops after some seconds of its own."""
        by_key_alone(visible)
        path = f"{job_path(job_id)}/cancel"
        return Cleared(**(await self._ask("POST", path, query={"tree": 1}, timeout=_LONG)).body["tree"])

    async def cancel_tagged(
        self,
        tag: str,
        statuses: Collection[Status],
        seconds: float,
        *,
        dry_run: bool = False,
        visible: Callable[[str], bool] = every_type,
    ) -> Tagged:
        by_key_alone(visible)
        query = {"tag": tag, "status": ",".join(statuses), "dry_run": int(dry_run)}
        return Tagged(**(await self._ask("DELETE", "/jobs", query=query, timeout=_LONG)).body)

    async def find_unique(self, function: str, key: str) -> Job:
        path = f"{function_path(function)}/unique/{segment(key)}"
        return read.job((await self._ask("GET", path)).body)

    async def clear(self, function: str, status: Literal["pending", "scheduled"], seconds: float) -> Cleared:
        path, query = f"{function_path(function)}/jobs", {"status": status}
        return Cleared(**(await self._ask("DELETE", path, query=query, timeout=_LONG)).body)

    async def move(
        self, job_id: str, *, run_at: int | str | datetime | None = None, delay: float | str | None = None
    ) -> Job:
        body = {name: value for name, value in (("run_at", run_at), ("delay", delay)) if value is not None}
        if not body:
            return read.job((await self._ask("POST", f"{job_path(job_id)}/run")).body)
        return read.job((await self._ask("PATCH", job_path(job_id), body)).body)

    async def retry(self, job_id: str) -> Job:
        return read.job((await self._ask("POST", f"{job_path(job_id)}/retry")).body)

    async def pause(self, *, function: str | None = None, lane: str | None = None) -> None:
        if function is not None and lane is not None:
            await self.function(function)  # raises before anything is paused; a lane comes first then
        for path in _pause_paths(function, lane):
            await self._ask("POST", f"{path}/pause")

    async def resume(self, *, function: str | None = None, lane: str | None = None) -> None:
        for path in _pause_paths(function, lane):
            await self._ask("POST", f"{path}/resume")

    async def paused(self) -> list[str]:
        shown = (await self._ask("GET", "/jobs/pause")).body
        names = [f"function:{name}" for name in shown["functions"]] + [f"lane:{name}" for name in shown["lanes"]]
        return (["*"] if shown["paused"] else []) + names

    async def dead(self, function: str, *, limit: int = 50, offset: int = 0) -> Page:
        path, query = f"{function_path(function)}/dead", {"limit": limit, "cursor": offset}
        return read.page((await self._ask("GET", path, query=query)).body)

    async def replay(
        self, function: str, fits: Callable[[Job], bool], *, every: float = 0.0, limit: int | None = None
    ) -> int:
        """As `Lanework.replay`, one job a request."""
        chosen: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await self.dead(function, limit=_PAGE, offset=offset)
            chosen += [job.id for job in page.jobs if fits(job)]
            offset = None if page.cursor is None else int(page.cursor)
        chosen = chosen[::-1][:limit]
        replayed = 0
        for number, job_id in enumerate(chosen):
            if number and every:
                await asyncio.sleep(every)
            with contextlib.suppress(JobNotFound, StatusConflict):  # somebody else was there first
                await self.retry(job_id)
                replayed += 1
        return replayed

    async def purge(self, function: str, fits: Callable[[Job], bool], *, limit: int | None = None) -> int:
        raise _of_redis("purge", "DELETE /functions/NAME/dead deletes by error and time")

    async def ticks(self, function: str, schedules: Sequence[str]) -> list[Ticked | None]:
        raise _of_redis("ticks", "GET /functions/NAME shows its schedules' past")

    async def retry_after(self, function: str) -> int:
        raise _of_redis("retry_after", "QueueFull has it")

    async def past(
        self,
        by: Span = "hour",
        *,
        after: int | str | datetime | None = None,
        before: int | str | datetime | None = None,
        function: str | None = None,
    ) -> list[Bucket]:
        times = {"after": after, "before": before}
        query: dict[str, Any] = {name: rfc3339(unix_ms(time)) for name, time in times.items() if time is not None}
        query |= {"by": by} | ({} if function is None else {"function": function})
        return read.buckets((await self._ask("GET", "/stats/history", query=query)).body)

    async def history_lag(self) -> Lag | None:
        raise _of_redis("history_lag", "GET /metrics has lanework_history_lag_seconds")

    async def oldest(self, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        raise _of_redis("oldest", "GET /stats has oldest_seconds")

    async def server(self) -> Server:
        raise _of_redis("server", "GET /metrics has lanework_redis_memory_used_bytes and what else is known")

    async def check(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        await self._ask("GET", "/healthz")

    async def check_ready(self) -> None:
        """Raises NotReady, StoreUnavailable."""
        await self._ask("GET", "/readyz")

    async def function(self, name: str) -> Deployed:
        return read.deployed((await self._ask("GET", function_path(name))).body)

    async def functions(self) -> dict[str, Deployed]:
        shown = (await self._ask("GET", "/functions")).body["functions"]
        return {own["name"]: read.deployed(own) for own in shown}

    async def workers(self) -> Sequence[WorkerInfo]:
        return [read.worker(own) for own in (await self._ask("GET", "/workers")).body["workers"]]

    async def stats(self) -> Statistics:
        return read.statistics((await self._ask("GET", "/stats")).body)

    async def depths(self) -> list[Depth]:
        return [
            Depth(of.function, lane, own.waiting, own.running)
            for of in (await self.stats()).functions
            for lane, own in of.lanes.items()
        ]

    async def scheduled(self) -> int:
        return sum(of.whole.scheduled for of in (await self.stats()).functions)

    async def dead_counts(self, functions: Sequence[str]) -> dict[str, int]:
        dead = {of.function: of.whole.dead or 0 for of in (await self.stats()).functions}
        return {name: dead.get(name, 0) for name in functions}

    async def place(self, job_id: str) -> Place | None:
        shown = (await self._ask("GET", f"{job_path(job_id)}/position")).body
        return None if shown["ahead"] is None else Place(shown["ahead"], shown["exact"])

    async def _ask(self, method: str, path: str, body: Any = None, **arguments: Any) -> Any:
        return await self._transport.ask(method, path, body, **arguments)


def _pause_paths(function: str | None, lane: str | None) -> list[str]:
    paths = [] if lane is None else [f"/lanes/{segment(lane)}"]
    return (paths + ([] if function is None else [function_path(function)])) or ["/jobs"]


def _of_redis(name: str, instead: str) -> LaneworkError:
    return LaneworkError(f"{name} needs a client of Redis; {instead}")
