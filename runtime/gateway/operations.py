"""What the gateway lets people do to jobs and queues: cancel, move, retry, pause, replay, purge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.gateway import queries, requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.functions import describe_function
from runtime.gateway.problems import BadRequest, json_reply
from runtime.gateway.replies import job_reply, page_reply
from runtime.jobs.job import Job
from runtime.values import durations

_CLEAR_WITHIN = 5.0  # seconds


class OperationsApi:
    """The handlers, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit

    async def cancel(self, request: Request) -> Response:
        """200 with the cancelled job; 202 while its attempt is being stopped; 409 for one that has settled. With
        `tree`, also what it has started, whether it has settled or not."""
        requests.refuse_foreign(request)
        job_id = request.path_params["id"]
        if queries.read_tree(request):
            cleared = await self._lanework.cancel_tree(job_id, _CLEAR_WITHIN)
            job = await self._lanework.get(job_id)
            return job_reply(job, 200 if job.settled else 202, extras={"tree": cleared._asdict()})
        job = await self._lanework.cancel(job_id)
        return job_reply(job, 200 if job.settled else 202)

    async def cancel_tagged(self, request: Request) -> Response:
        """Cancels the jobs of a tag; `partial` where more may be left, so that the client should repeat it."""
        requests.refuse_foreign(request)
        query = queries.read_tag_query(request)
        done = await self._lanework.cancel_tagged(query.tag, query.statuses, _CLEAR_WITHIN, dry_run=query.dry_run)
        return json_reply(done._asdict())

    async def show_unique(self, request: Request) -> Response:
        """The job that waits or runs under a unique key of a function."""
        return job_reply(await self._unique(request))

    async def cancel_unique(self, request: Request) -> Response:
        """Cancels it."""
        requests.refuse_foreign(request)
        job = await self._lanework.cancel((await self._unique(request)).id)
        return job_reply(job, 200 if job.settled else 202)

    async def _unique(self, request: Request) -> Job:
        return await self._lanework.find_unique(request.path_params["function"], request.path_params["key"])

    async def retry(self, request: Request) -> Response:
        """202: a failed job runs again, with its history."""
        requests.refuse_foreign(request)
        return job_reply(await self._lanework.retry(request.path_params["id"]), 202)

    async def run(self, request: Request) -> Response:
        """A scheduled job starts now."""
        requests.refuse_foreign(request)
        return job_reply(await self._lanework.move(request.path_params["id"]))

    async def move(self, request: Request) -> Response:
        """A scheduled job starts at another time: `run_at` or `delay`."""
        body = await requests.read_object(request, self._body_limit, {"run_at", "delay"})
        if not body:
            raise BadRequest(422, "job-invalid", 'give run_at or delay, such as {"delay": "10m"}')
        return job_reply(await self._lanework.move(request.path_params["id"], **body))

    async def paused(self, request: Request) -> Response:
        """What is paused now."""
        names = await self._lanework.paused()
        return json_reply(
            {
                "paused": "*" in names,
                "functions": [n.removeprefix("function:") for n in names if n.startswith("function:")],
                "lanes": [n.removeprefix("lane:") for n in names if n.startswith("lane:")],
            }
        )

    async def pause(self, request: Request) -> Response:
        requests.refuse_foreign(request)
        what: dict[str, str] = dict(request.path_params)
        await self._lanework.pause(**what)
        return json_reply({"message": f"{_subject(what)} paused"})

    async def resume(self, request: Request) -> Response:
        requests.refuse_foreign(request)
        what: dict[str, str] = dict(request.path_params)
        await self._lanework.resume(**what)
        return json_reply({"message": f"{_subject(what)} resumed"})

    async def function(self, request: Request) -> Response:
        return json_reply(await describe_function(self._lanework, request.path_params["function"]))

    async def dead(self, request: Request) -> Response:
        """A function's failed jobs, the newest first."""
        limit, offset = queries.read_window(request)
        page = await self._lanework.dead(request.path_params["function"], limit=limit, offset=offset)
        return page_reply(page)

    async def replay(self, request: Request) -> Response:
        """Runs a function's failed jobs again: all, or those that match `error`, `after` and `before`."""
        body = await requests.read_object(request, self._body_limit, {"error", "after", "before", "limit", "rate"})
        every = 0.0
        if "rate" in body:
            every = _read("rate", durations.rate, body["rate"])[0]
        function = request.path_params["function"]
        replayed = await self._lanework.replay(function, _filter(body), every=every, limit=_limit(body))
        return json_reply({"replayed": replayed}, 202)

    async def purge(self, request: Request) -> Response:
        """Deletes a function's failed jobs."""
        requests.refuse_foreign(request)
        filters = queries.read_filter(request)
        function = request.path_params["function"]
        purged = await self._lanework.purge(function, _filter(filters), limit=_limit(filters))
        return json_reply({"purged": purged})

    async def clear(self, request: Request) -> Response:
        """Cancels what waits of a function; `partial` where more may wait, so that the client should repeat it."""
        requests.refuse_foreign(request)
        status = queries.read_waiting_status(request)
        cleared = await self._lanework.clear(request.path_params["function"], status, _CLEAR_WITHIN)
        return json_reply(cleared._asdict())


def paths(lanework: Lanework) -> Paths:
    api = OperationsApi(lanework)
    return {
        "/jobs/pause": {"POST": api.pause, "GET": api.paused},
        "/jobs/resume": {"POST": api.resume},
        "/jobs": {"DELETE": api.cancel_tagged},
        "/jobs/{id}": {"DELETE": api.cancel, "PATCH": api.move},
        "/jobs/{id}/cancel": {"POST": api.cancel},
        "/jobs/{id}/retry": {"POST": api.retry},
        "/jobs/{id}/run": {"POST": api.run},
        "/functions/{function}": {"GET": api.function},
        "/functions/{function}/jobs": {"DELETE": api.clear},
        "/functions/{function}/unique/{key:path}": {"GET": api.show_unique, "DELETE": api.cancel_unique},
        "/functions/{function}/pause": {"POST": api.pause},
        "/functions/{function}/resume": {"POST": api.resume},
        "/functions/{function}/dead": {"GET": api.dead, "DELETE": api.purge},
        "/functions/{function}/dead/replay": {"POST": api.replay},
        "/lanes/{lane}/pause": {"POST": api.pause},
        "/lanes/{lane}/resume": {"POST": api.resume},
    }


def _subject(what: dict[str, str]) -> str:
    if not what:
        return "Job processing"
    ((kind, name),) = what.items()
    return f"{kind.capitalize()} {name}"


def _filter(filters: dict[str, Any]) -> Callable[[Job], bool]:
    """Failed jobs by a part of their error, and by when they failed."""
    part = filters.get("error", "")
    if not isinstance(part, str):
        raise BadRequest(422, "filter-invalid", "error is a part of the error's type or message")
    after = _read("after", durations.unix_ms, filters["after"]) if "after" in filters else 0
    before = _read("before", durations.unix_ms, filters["before"]) if "before" in filters else float("inf")

    def fits(job: Job) -> bool:
        error = job.error or {}
        shown = f"{error.get('type')}: {error.get('message')}"
        return after <= (job.finished_at or 0) <= before and part in shown

    return fits


def _limit(filters: dict[str, Any]) -> int | None:
    if "limit" not in filters:
        return None
    limit = filters["limit"]
    if isinstance(limit, str) and limit.isascii() and limit.isdecimal() and len(limit) < 10:
        limit = int(limit)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or limit < 1 or limit != int(limit):
        raise BadRequest(422, "filter-invalid", "limit is a whole number from 1 on")
    return int(limit)


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise BadRequest(422, "filter-invalid", f"{name}: {error}") from None
