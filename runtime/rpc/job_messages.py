"""Jobs and requests for them, as messages."""

from __future__ import annotations

from typing import Any

from runtime.jobs.job import Job, Status
from runtime.jobs.request import OPTIONS, JobRequest
from runtime.rpc.encoding import decode, encode, invalid
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.values import codec
from runtime.values.scoped_key import scoped_key

STATUSES: dict[Status, pb.JobStatus] = {
    "pending": pb.JOB_STATUS_PENDING,
    "running": pb.JOB_STATUS_RUNNING,
    "completed": pb.JOB_STATUS_COMPLETED,
    "failed": pb.JOB_STATUS_FAILED,
    "scheduled": pb.JOB_STATUS_SCHEDULED,
    "cancelled": pb.JOB_STATUS_CANCELLED,
}
_INT32 = (1 << 31) - 1
NAMES: dict[int, Status] = {number: name for name, number in STATUSES.items()}


def job_message(job: Job) -> pb.Job:
    message = pb.Job(
        id=job.id,
        type=job.type,
        status=STATUSES[job.status],
        execution_time_ms=job.created_at if job.run_at is None else job.run_at,
        created_at=job.created_at,
        updated_at=job.updated_at or job.created_at,
        lane=job.lane,
        attempt=job.attempt,
        max_attempts=min(job.max_attempts, _INT32),
        started_at=job.started_at,
        finished_at=job.finished_at,
        tags=job.tags,
        parent=job.parent or "",
        archived=job.archived,
    )
    if job.payload is not None and "payload" not in job.omitted:
        message.payload, message.payload_encoding = encode(job.payload)
    if job.status == "completed" and "result" not in job.omitted:
        message.result, message.result_encoding = encode(job.result)
    if job.error is not None:
        texts = {name: text(job.error.get(name)) for name in ("type", "message", "traceback")}
        message.error.CopyFrom(pb.JobError(**texts))
    if (progress := progress_message(job.progress)) is not None:
        message.progress.CopyFrom(progress)
    return message


def progress_message(report: Any) -> pb.Progress | None:
    """None for no report, and for one that cannot be read."""
    if not isinstance(report, dict) or not isinstance(report.get("done"), (int, float)):
        return None
    total = report.get("total")
    total = float(total) if isinstance(total, (int, float)) else None
    return pb.Progress(done=float(report["done"]), total=total, note=text(report.get("note")))


def text(value: Any) -> str:
    """As a message can hold it: valid Unicode."""
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()


def job_request(message: pb.EnqueueJobRequest, caller: str) -> JobRequest:
    """`caller`: who asks, in whose scope its idempotency key is. Raises JobInvalid."""
    has = message.HasField
    request = JobRequest(
        message.type,
        decode(message.payload, message.payload_encoding),
        priority=message.lane or None,
        max_attempts=message.max_attempts if has("max_attempts") else None,
        run_at=max(0, message.execution_time_ms) if has("execution_time_ms") else None,
        delay=message.delay_ms / 1000 if has("delay_ms") else None,
        ttl=message.ttl_ms / 1000 if has("ttl_ms") else None,
        unique=message.unique or None,
        tags=dict(message.tags) or None,
        callback=message.callback_url or None,
        key=scoped_key(caller, message.idempotency_key) if message.idempotency_key else None,
    )
    if message.options:
        _add_options(request, message.options)
    return request


def _add_options(request: JobRequest, packed: str) -> None:
    """Raises JobInvalid."""
    options = json_object("options", packed)
    further = JobRequest.parse({**options, "type": request.type})
    for name in OPTIONS:
        value = getattr(further, name)
        if value in (None, ()):
            continue
        if getattr(request, name) not in (None, ()):
            raise invalid("options", f"say {name}, as a field of its own does: give one of them")
        setattr(request, name, value)
    if stray := sorted(options.keys() - set(OPTIONS)):
        raise invalid("options", f"have no {', '.join(stray)}, which is a field of its own")


def json_object(name: str, packed: str) -> dict[str, Any]:
    """From a field of a message. Raises JobInvalid."""
    try:
        value = codec.from_json(packed.encode())
    except ValueError as error:
        raise invalid(name, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid(name, "is an object, as JSON")
    return value
