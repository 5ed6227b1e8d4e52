"""What the gateway answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from runtime import codec
from runtime.client import Lanework
from runtime.clock import rfc3339
from runtime.errors import JobFailed, JobUnsettled, LaneUnknown, StoreError
from runtime.gateway import gauges, requests
from runtime.gateway.problems import BadRequest
from runtime.job import Job


class Api:
    """The handlers, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit

    async def create(self, request: Request) -> Response:
        """202 with the whole job, once it is stored."""
        asked = await requests.read_job(request, self._body_limit)
        headers: dict[str, str] = {}
        priority, warnings = asked.priority, []
        if priority is not None:
            try:
                self._lanework.settings.lane(priority)
            except LaneUnknown as error:
                if not requests.lenient(request):
                    raise
                priority = self._lanework.settings.default_lane
                warnings.append(f"{error}; the default lane {priority} was taken")
                headers["Preference-Applied"] = "handling=lenient"
        job = await self._lanework.enqueue(
            asked.type, asked.payload, priority=priority, max_attempts=asked.max_attempts
        )
        body = job.to_json()
        if warnings:
            body["warnings"] = warnings
        headers["Location"] = f"/jobs/{job.id}"
        return _json(body, 202, headers)

    async def show(self, request: Request) -> Response:
        """The job; with `Prefer: wait=N`, once it has settled."""
        return _json((await self._find(request)).to_json())

    async def result(self, request: Request) -> Response:
        """The bare result as JSON; 409 while there is none."""
        job = await self._find(request)
        if job.status == "completed":
            return _json(job.result)
        if not job.settled:
            raise JobUnsettled(f"the job is {job.status}; ask again, or send the header Prefer: wait=30")
        reason = f": {job.error['type']}: {job.error['message']}" if job.error else ""
        raise JobFailed(f"the job is {job.status} and has no result{reason}")

    async def list(self, request: Request) -> Response:
        query = requests.read_query(request)
        try:
            page = await self._lanework.page(**query._asdict())
        except ValueError:
            raise BadRequest(422, "query-invalid", "cursor is what the page before gave as `cursor`") from None
        return _json({"jobs": [job.to_json() for job in page.jobs], "cursor": page.cursor})

    async def functions(self, request: Request) -> Response:
        """What is deployed, which workers have it, and what each module that did not load says."""
        contracts = await self._lanework.contracts.all()
        workers = await self._lanework.workers()
        shown = []
        for name, contract in contracts.items():
            have = [worker.id for worker in workers if name in worker.functions]
            shown.append({**asdict(contract.deployed), "workers": have})
        return _json({"functions": shown})

    async def workers(self, request: Request) -> Response:
        """Who is alive."""
        alive = await self._lanework.workers()
        return _json({"workers": [{**asdict(w), "started_at": rfc3339(w.started_at)} for w in alive]})

    async def alive(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """503 unless Redis answers."""
        await self._lanework.ping()
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """This process's metrics, and the queues' gauges."""
        try:
            queues = await gauges.collect(self._lanework)
        except StoreError:
            queues = gauges.away()
        return Response(generate_latest() + queues, media_type=CONTENT_TYPE_LATEST)

    async def _find(self, request: Request) -> Job:
        job_id = request.path_params["id"]
        wait = requests.wait(request)
        return await (self._lanework.wait(job_id, wait) if wait else self._lanework.get(job_id))


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(codec.to_json(body), status, headers, media_type="application/json")
