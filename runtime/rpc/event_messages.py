"""What happens to a job, as messages."""

from __future__ import annotations

from typing import Any

from runtime.client.watching import JobEvent
from runtime.rpc.encoding import encode
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.rpc.job_messages import STATUSES, job_message, progress_message, text
from runtime.values import codec


def event_message(event: JobEvent) -> pb.WatchJobResponse | None:
    """None for what says nothing: HTTP/2 has signs of life of its own."""
    message = pb.WatchJobResponse(position=str(event.position))
    if event.kind == "status":
        message.status.CopyFrom(pb.StatusChange(status=_status(event.status), attempt=event.attempt))
    elif event.kind == "progress":
        progress = progress_message(event.progress)
        if progress is None:
            return None
        message.progress.CopyFrom(progress)
    elif event.kind == "output":
        value, encoding = encode(event.value)
        message.output.CopyFrom(
            pb.OutputChunk(attempt=event.attempt, number=event.number, value=value, encoding=encoding)
        )
    elif event.kind == "log":
        message.log.CopyFrom(_line(event))
    elif event.kind == "settled" and event.job is not None:
        message.settled.CopyFrom(job_message(event.job))
    elif event.kind == "gap":
        message.gap.CopyFrom(pb.Gap(of=event.value or "", missed=event.missed))
    else:
        return None
    return message


def _status(name: str) -> pb.JobStatus:
    found: dict[Any, pb.JobStatus] = {**STATUSES}
    return found.get(name, pb.JOB_STATUS_UNSPECIFIED)


def _line(event: JobEvent) -> pb.LogLine:
    line = event.value if isinstance(event.value, dict) else {}
    at = line.get("at")
    return pb.LogLine(
        attempt=event.attempt,
        number=event.number,
        at=at if isinstance(at, int) else 0,
        level=text(line.get("level")),
        event=text(line.get("event")),
        fields=codec.to_json(codec.showable(line.get("fields") or {})).decode(),
    )
