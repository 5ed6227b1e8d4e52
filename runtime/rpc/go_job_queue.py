"""The service of go-job-queue, `mpataki.jobqueue.v1.JobService`: ours, with fewer fields."""

from __future__ import annotations

from runtime.rpc.generated.lanework.v1 import jobs_pb2 as ours
from runtime.rpc.generated.mpataki.jobqueue.v1 import jobqueue_pb2 as pb
from runtime.rpc.jobs import Jobs
from runtime.rpc.service import Service

_STATUSES = {
    ours.JOB_STATUS_PENDING: pb.JOB_STATUS_PENDING,
    ours.JOB_STATUS_SCHEDULED: pb.JOB_STATUS_PENDING,
    ours.JOB_STATUS_RUNNING: pb.JOB_STATUS_RUNNING,
    ours.JOB_STATUS_COMPLETED: pb.JOB_STATUS_COMPLETED,
    ours.JOB_STATUS_FAILED: pb.JOB_STATUS_FAILED,
    ours.JOB_STATUS_CANCELLED: pb.JOB_STATUS_FAILED,
}


def go_job_queue_service(jobs: Jobs) -> Service:
    theirs = _GoJobQueue(jobs)
    return Service(
        pb.DESCRIPTOR.services_by_name["JobService"],
        {"EnqueueJob": theirs.enqueue, "GetJob": theirs.get, "CancelJob": theirs.cancel},
    )


class _GoJobQueue:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def enqueue(self, request: pb.EnqueueJobRequest, caller: str) -> pb.EnqueueJobResponse:
        own = ours.EnqueueJobRequest.FromString(request.SerializeToString())
        return pb.EnqueueJobResponse(job=_job((await self._jobs.enqueue(own, caller)).job))

    async def get(self, request: pb.GetJobRequest, caller: str) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=_job((await self._jobs.get(ours.GetJobRequest(id=request.id), caller)).job))

    async def cancel(self, request: pb.CancelJobRequest, caller: str) -> pb.CancelJobResponse:
        await self._jobs.cancel(ours.CancelJobRequest(id=request.id), caller)
        return pb.CancelJobResponse()


def _job(job: ours.Job) -> pb.Job:
    return pb.Job(
        id=job.id,
        type=job.type,
        payload=job.payload,
        status=_STATUSES[job.status],
        execution_time_ms=job.execution_time_ms,
        created_at=job.created_at,
        updated_at=job.updated_at,
    )
