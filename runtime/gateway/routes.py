"""The core of the gateway: enqueue a job, report its status, list what there is."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.errors import JobFailed, JobUnsettled, StoreError
from runtime.gateway import gauges, queries, requests, sse
from runtime.gateway.endpoint import Paths
from runtime.gateway.functions import describe_functions
from runtime.gateway.payload_jobs import read_payload_job
from runtime.gateway.problems import BadRequest, json_reply
from runtime.gateway.replies import job_reply, page_reply, result_reply, validated_reply
from runtime.jobs.job import Job
from runtime.jobs.request import JobRequest
from runtime.values.clock import now_ms, rfc3339

_FAR_BEHIND = 60  # seconds
_LONGEST = 60  # seconds until a client is to look again


class Api:
    """The handlers, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit

    async def create(self, request: Request) -> Response:
        """202 with the whole job once it is stored; 200 with the one that a key found, or, with `wait`, once it
        has settled."""
        requests.refuse_unknown(request, {"wait"})
        return await self._submit(request, await requests.read_job(request, self._body_limit))

    async def create_for(self, request: Request) -> Response:
        """The same for a body that is the payload alone."""
        function = request.path_params["function"]
        return await self._submit(request, await read_payload_job(request, function, self._body_limit))

    async def _submit(self, request: Request, job_request: JobRequest) -> Response:
        wait = requests.wait(request)
        job, new, warnings = await self._lanework.submit(job_request, lenient=requests.lenient(request))
        if sse.is_wanted(request):
            location = f"/jobs/{job.id}"
            return await sse.stream(self._lanework, request, job.id, 202 if new else 200, Location=location)
        if wait:
            with contextlib.suppress(StoreError):  # it is stored all the same
                job = await self._lanework.wait(job.id, wait)
        applied = [f"wait={wait:g}"] if wait else []
        applied += ["handling=lenient"] if warnings else []
        headers = {"Location": f"/jobs/{job.id}"} | ({"Preference-Applied": ", ".join(applied)} if applied else {})
        done = job.settled if wait else not new
        if not done:
            headers["Retry-After"] = _look_again(job)
        return job_reply(job, 200 if done else 202, headers, {"warnings": warnings} if warnings else None)

    async def show(self, request: Request) -> Response:
        """The job; with `wait`, once it has settled, or as it is then, with 202."""
        requests.refuse_unknown(request, {"wait"})
        if sse.is_wanted(request):
            return await sse.stream(self._lanework, request, request.path_params["id"])
        wait = requests.wait(request)
        job_id = request.path_params["id"]
        job = await (self._lanework.wait(job_id, wait) if wait else self._lanework.get(job_id))
        headers = {"Preference-Applied": f"wait={wait:g}"} if wait else {}
        unfinished = wait and not job.settled
        if unfinished:
            headers["Retry-After"] = _look_again(job)
        return validated_reply(job, 202 if unfinished else 200, headers, requests.if_none_match(request))

    async def result(self, request: Request) -> Response:
        """The bare result as JSON; 409 while there is none."""
        requests.refuse_unknown(request, {"wait"})
        job_id, wait = request.path_params["id"], requests.wait(request)
        job = await (self._lanework.wait(job_id, wait) if wait else self._lanework.get(job_id))
        if job.status == "completed":
            return result_reply(job)
        if not job.settled:
            raise JobUnsettled(f"the job is {job.status}; ask again, or send the header Prefer: wait=30")
        reason = f": {job.error['type']}: {job.error['message']}" if job.error else ""
        raise JobFailed(f"the job is {job.status} and has no result{reason}")

    async def list(self, request: Request) -> Response:
        query = queries.read_query(request, self._lanework.settings.lanes)
        try:
            page = await self._lanework.page(**query)
        except ValueError:
            raise BadRequest(422, "query-invalid", "cursor is what the page before gave as `cursor`") from None
        return page_reply(page)

    async def functions(self, request: Request) -> Response:
        """What is deployed, which workers have it, and what each module that did not load says."""
        return json_reply({"functions": await describe_functions(self._lanework)})

    async def workers(self, request: Request) -> Response:
        """Who is alive."""
        alive = await self._lanework.workers()
        return json_reply({"workers": [{**asdict(w), "started_at": rfc3339(w.started_at)} for w in alive]})

    async def alive(self, request: Request) -> Response:
        return json_reply({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """503 unless a job could be stored, and functions are known that it could be for. A history that is behind
        is a warning: jobs run all the same."""
        await self._lanework.check_ready()
        lag = await self._lanework.history_lag()
        if lag is None or lag.seconds < _FAR_BEHIND:
            return json_reply({"status": "ok"})
        return json_reply({"status": "ok", "warnings": [f"history is {lag.seconds:.0f} s behind"]})

    async def metrics(self, request: Request) -> Response:
        """This process's metrics, and the queues' gauges."""
        try:
            queues = await gauges.collect(self._lanework)
        except StoreError:
            queues = gauges.away()
        return Response(generate_latest() + queues, media_type=CONTENT_TYPE_LATEST)


def _look_again(job: Job) -> str:
    """Seconds until it can have changed: a second, or longer for one whose time is to come; it may be moved."""
    left = job.run_at - now_ms() if job.status == "scheduled" and job.run_at is not None else 0
    return str(max(1, min(_LONGEST, math.ceil(left / 1000))))


def paths(lanework: Lanework) -> Paths:
    api = Api(lanework)
    return {
        "/jobs": {"POST": api.create, "GET": api.list},
        "/jobs/{id}": {"GET": api.show},
        "/jobs/{id}/result": {"GET": api.result},
        "/job": {"POST": api.create},
        "/job/{id}": {"GET": api.show},
        "/functions": {"GET": api.functions},
        "/functions/{function}/jobs": {"POST": api.create_for},
        "/workers": {"GET": api.workers},
        "/healthz": {"GET": api.alive},
        "/readyz": {"GET": api.ready},
        "/health": {"GET": api.ready},
        "/metrics": {"GET": api.metrics},
    }
