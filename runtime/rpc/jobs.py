"""The service of jobs: `lanework.v1.JobService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

from runtime.client import Lanework
from runtime.client.bulk import Stored
from runtime.client.lists import LIST_FIELDS, JobQuery
from runtime.client.part import Part
from runtime.client.watching import Place
from runtime.errors import LaneworkError
from runtime.jobs.request import JobRequest
from runtime.jobs.tags import parse_one
from runtime.rpc.event_messages import event_message
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.rpc.job_messages import NAMES, job_message, job_request
from runtime.rpc.service import Service
from runtime.rpc.stats_messages import function_message
from runtime.rpc.status import RequestInvalid, StreamCut, TooLarge, code_of, fields_of, reason_of
from runtime.values import durations, ids

MAX_JOBS = 50_000  # of one stream, whose response has an id for each
_FIELDS_SHOWN = 3  # of each job that is refused
_MESSAGE_SHOWN = 500  # characters


def job_service(jobs: Jobs) -> Service:
    return Service(
        pb.DESCRIPTOR.services_by_name["JobService"],
        {
            "EnqueueJob": jobs.enqueue,
            "GetJob": jobs.get,
            "CancelJob": jobs.cancel,
            "ListJobs": jobs.list,
            "PauseFunction": jobs.pause,
            "ResumeFunction": jobs.resume,
            "GetStats": jobs.stats,
            "EnqueueJobs": jobs.enqueue_many,
            "WatchJob": jobs.watch,
        },
    )


class Jobs:
    """The methods, on one connection to Lanework. They raise LaneworkError."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._limit = lanework.settings.body_limit

    async def enqueue(self, request: pb.EnqueueJobRequest, caller: str) -> pb.EnqueueJobResponse:
        submitted = await self._lanework.submit(self._read(request, caller))
        return pb.EnqueueJobResponse(job=job_message(submitted.job), created=submitted.new)

    async def enqueue_many(
        self, requests: AsyncIterator[pb.EnqueueJobsRequest], caller: str
    ) -> pb.EnqueueJobsResponse:
        """What was stored before the stream broke stays so: idempotency keys let it come again."""
        response = pb.EnqueueJobsResponse()
        part = Part(self._lanework, partial(_noted, response))
        async for request in requests:
            for job in request.jobs:
                if part.count == MAX_JOBS:
                    part.add(RequestInvalid(f"a stream has at most {MAX_JOBS} jobs: send the rest in another"), 0)
                    await part.store()
                    return response
                try:
                    part.add(self._read(job, caller), len(job.payload) + len(job.options))
                except LaneworkError as error:
                    part.add(error, 0)
                if part.is_full:
                    await part.store()
        await part.store()
        return response

    def _read(self, request: pb.EnqueueJobRequest, caller: str) -> JobRequest:
        if len(request.payload) + len(request.options) > self._limit:
            raise TooLarge(f"has at most {self._limit} bytes; pass large data by reference", "payload")
        if not request.type:
            raise RequestInvalid("is required: name the function", "type")
        return job_request(request, caller)

    async def get(self, request: pb.GetJobRequest, _: str) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_message(await self._lanework.get(request.id)))

    async def cancel(self, request: pb.CancelJobRequest, _: str) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_message(await self._lanework.cancel(request.id)))

    async def list(self, request: pb.ListJobsRequest, _: str) -> pb.ListJobsResponse:
        query = self._query(request)
        try:
            page = await self._lanework.page(**query)
        except ValueError:
            raise RequestInvalid("is the next_page_token of the page before", "page_token") from None
        jobs = [job_message(job) for job in page.jobs]
        return pb.ListJobsResponse(jobs=jobs, next_page_token=page.cursor or "", partial=page.partial)

    def _query(self, request: pb.ListJobsRequest) -> JobQuery:
        """Raises RequestInvalid."""
        lanes = self._lanework.settings.lanes
        if not 0 <= request.page_size <= 500:
            raise RequestInvalid("is a number from 1 to 500", "page_size")
        if request.status and request.status not in NAMES:
            raise RequestInvalid("is a JobStatus", "status")
        if request.lane and request.lane not in lanes:
            raise RequestInvalid(f"is one of {', '.join(lanes)}", "lane")
        if request.parent and not ids.is_id(request.parent):
            raise RequestInvalid("is a job's id", "parent")
        if request.tag and request.parent:
            raise RequestInvalid("tag and parent: give one of them", "tag")
        if request.tag:
            _check("tag", parse_one, request.tag)
        query: dict[str, Any] = {
            "limit": request.page_size or 50,
            "cursor": request.page_token or None,
            "type": request.type or None,
            "status": NAMES.get(request.status),
            "lane": request.lane or None,
            "tag": request.tag or None,
            "parent": request.parent or None,
            "payload": dict(request.payload),
            "error": request.error or None,
            "fields": LIST_FIELDS if request.full else (),
        }
        for name, field in (("after", "created_after"), ("before", "created_before")):
            if request.HasField(field):
                query[name] = _check(field, durations.unix_ms, getattr(request, field))
        return cast("JobQuery", query)

    async def watch(self, request: pb.WatchJobRequest, _: str) -> AsyncIterator[pb.WatchJobResponse]:
        async with aclosing(self._lanework.watch(request.id, request.after or None)) as events:
            async for event in events:
                if (message := event_message(event)) is not None:
                    yield message
                if event.kind == "settled":
                    return
        place = Place.parse(request.after)
        if place is not None and place.over:  # nothing comes after that
            return
        raise StreamCut("the stream ends before the job does: go on from the last position")

    async def pause(self, request: pb.PauseFunctionRequest, _: str) -> pb.PauseFunctionResponse:
        await self._lanework.pause(function=_named(request.function))
        return pb.PauseFunctionResponse()

    async def resume(self, request: pb.ResumeFunctionRequest, _: str) -> pb.ResumeFunctionResponse:
        await self._lanework.resume(function=_named(request.function))
        return pb.ResumeFunctionResponse()

    async def stats(self, request: pb.GetStatsRequest, _: str) -> pb.GetStatsResponse:
        stats = await self._lanework.stats()
        functions = [function_message(of) for of in stats.functions]
        return pb.GetStatsResponse(functions=functions, scheduled_partial=stats.scheduled_partial)


def _noted(response: pb.EnqueueJobsResponse, result: Stored | LaneworkError) -> None:
    if isinstance(result, LaneworkError):
        response.refused += 1
        response.results.add(refusal=_refusal(result))
    else:
        response.stored += 1
        response.results.add(id=result.id, created=result.new)


def _refusal(error: LaneworkError) -> pb.Refusal:
    fields = [pb.FieldError(field=f, message=m[:_MESSAGE_SHOWN]) for f, m in fields_of(error)[:_FIELDS_SHOWN]]
    message = str(error)[:_MESSAGE_SHOWN]
    return pb.Refusal(code=code_of(error), reason=reason_of(error), message=message, fields=fields)


def _named(function: str) -> str:
    """A pause without a function would be one of all. Raises RequestInvalid."""
    if not function:
        raise RequestInvalid("is required: name the function", "function")
    return function


def _check(field: str, read: Any, value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise RequestInvalid(str(error), field) from None
