"""What the paths of jobs do, take and give."""

from __future__ import annotations

from typing import Any

from runtime.gateway.openapi.job_requests import TAG, option_parameters
from runtime.gateway.openapi.json_schema import MOMENT, Schema, ref
from runtime.gateway.openapi.parts import (
    JOB_ID,
    batch_body,
    cursor,
    json_body,
    json_reply,
    limit,
    op,
    query,
    reply,
    status,
    stopped,
    streamed,
    tagged,
    unchanged,
)
from runtime.jobs.job import STATUSES
from runtime.settings import Settings

_WAIT = {
    "name": "wait",
    "in": "query",
    "required": False,
    "description": "seconds to wait for the job to settle; 60 at most are waited. `Prefer: wait=N` does the same",
    "schema": {"type": "integer", "minimum": 0, "maximum": 999_999},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "the same key and request again: the first job, with 200; another request: 422",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "the `ETag` that is known: 304 where the job has not changed",
    "schema": {"type": "string"},
}
_UUID7 = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TREE = query("tree", {"type": "boolean"}, text="what the job has started too, whether it has settled or not")
_ENQUEUE_PROBLEMS = (400, 403, 404, 409, 413, 415, 422, 429)


def job_operations(settings: Settings, sample: Any) -> dict[str, dict[str, Schema]]:
    """As `operations`, of the paths that begin with /job."""
    job = reply("the job, as it is now", "Job")
    create = _created()
    look = {
        "200": streamed(reply("the job, as it is now", "Job")) | tagged(),
        "202": reply("not settled in time", "Job"),
        "304": unchanged(),
    }
    window = [limit(), cursor()]
    message = {"200": reply("done", "Message")}
    body = json_body(ref("JobRequest"), sample)
    return {
        "/jobs": {
            "post": op("create_job", "Jobs", "Enqueue a job", create, 400, 403, 404, 409, 413, 415, 422, 429)
            | {"parameters": [_WAIT, _KEY], "requestBody": body},
            "get": op(
                "list_jobs", "Jobs", "List jobs, the newest first", {"200": reply("a page", "JobPage")}, 409, 422
            )
            | {
                "parameters": [
                    *window,
                    query("type", {"type": "string"}),
                    status(list(STATUSES)),
                    query("tag", TAG, text="not with parent"),
                    query("parent", {"type": "string", "pattern": _UUID7}, text="started by that job"),
                    query("lane", {"type": "string", "enum": list(settings.lanes)}),
                    query(
                        "error",
                        {"type": "string"},
                        text="what the error's type or message contains; needs a history, as `payload.PATH` does",
                    ),
                    query("after", MOMENT, text="made then, or later"),
                    query("before", MOMENT, text="made then, or before"),
                    query(
                        "fields",
                        {"type": "string", "enum": ["payload", "result", "payload,result"]},
                        text="what is shown besides; a job by its id is shown whole",
                    ),
                ]
            },
            "delete": op(
                "cancel_tagged",
                "Queues",
                "Cancel the jobs of a tag",
                {"200": reply("how many", "Tagged")},
                403,
                422,
            )
            | {
                "parameters": [
                    query("tag", TAG, required=True),
                    query(
                        "status",
                        {"type": "string", "enum": ["scheduled", "pending", "running", "scheduled,pending"]},
                        text="some of scheduled, pending and running; scheduled,pending where nothing is said",
                    ),
                    query("dry_run", {"type": "boolean"}, text="only count them"),
                ]
            },
        },
        "/jobs/batch": {
            "post": op(
                "create_jobs",
                "Jobs",
                "Enqueue many jobs",
                {"202": reply("all stored or found", "BatchReply"), "207": reply("some refused", "BatchReply")},
                400,
                413,
                415,
                422,
            )
            | {"requestBody": batch_body(sample)}
        },
        "/jobs/pause": {
            "post": op("pause_all", "Queues", "Take no more jobs", message, 403, 409),
            "get": op("list_paused", "Queues", "What is paused", {"200": reply("what is paused", "Paused")}),
        },
        "/jobs/resume": {"post": op("resume_all", "Queues", "Take jobs again", message, 403)},
        "/jobs/{id}": {
            "get": op("show_job", "Jobs", "A job; with wait, once it has settled", look, 404, 422)
            | {"parameters": [JOB_ID, _WAIT, IF_NONE_MATCH]},
            "delete": op("delete_job", "Jobs", "Cancel a job", stopped(job), 403, 404, 409, 422)
            | {"parameters": [JOB_ID, _TREE]},
            "patch": op(
                "move_job",
                "Jobs",
                "Start a scheduled job at another time",
                {"200": job},
                400,
                404,
                409,
                413,
                415,
                422,
            )
            | {"parameters": [JOB_ID], "requestBody": json_body(ref("Move"), {"delay": "10m"})},
        },
        "/jobs/{id}/cancel": {
            "post": op("cancel_job", "Jobs", "Cancel a job", stopped(job), 403, 404, 409, 422)
            | {"parameters": [JOB_ID, _TREE]}
        },
        "/jobs/{id}/retry": {
            "post": op("retry_job", "Jobs", "Run a failed job again", {"202": job}, 403, 404, 409)
            | {"parameters": [JOB_ID]}
        },
        "/jobs/{id}/run": {
            "post": op("run_job", "Jobs", "Start a scheduled job now", {"200": job}, 403, 404, 409)
            | {"parameters": [JOB_ID]}
        },
        "/jobs/{id}/result": {
            "get": op(
                "show_result", "Jobs", "The bare result", {"200": json_reply("the result", {})}, 404, 409, 422
            )
            | {"parameters": [JOB_ID, _WAIT]}
        },
        "/job": {
            "post": op("create_job_alias", "Jobs", "As POST /jobs", create, 400, 403, 404, 409, 413, 415, 422, 429)
            | {"deprecated": True, "parameters": [_WAIT, _KEY], "requestBody": body}
        },
        "/job/{id}": {
            "get": op("show_job_alias", "Jobs", "As GET /jobs/{id}", look, 404, 422)
            | {"deprecated": True, "parameters": [JOB_ID, _WAIT, IF_NONE_MATCH]}
        },
    }


def _created() -> Schema:
    """What may come of enqueueing one job."""
    found = streamed(reply("the job that the key found, or settled", "Job"))
    return {"200": found, "202": streamed(reply("the whole job, stored", "Job", location=True))}


def payload_operation(function: Schema, settings: Settings) -> Schema:
    """The operation that enqueues a body as the payload of any other function. `function`: its parameter."""
    post = op(
        "create_function_job",
        "Jobs",
        "Enqueue the body as a payload",
        _created(),
        *_ENQUEUE_PROBLEMS,
    )
    body = json_body({}, None) | {"required": False}
    parameters = [function, _WAIT, _KEY, *option_parameters(settings)]
    return post | {"parameters": parameters, "requestBody": body}


def function_operation(function: str, doc: str, sample: Any, settings: Settings) -> Schema:
    """The operation that enqueues one function's jobs."""
    summary, _, rest = doc.strip().partition("\n")
    replies = {
        "200": reply("the job that the key found, or settled", f"{function}.job"),
        "202": reply("the whole job, stored", f"{function}.job", location=True),
    }
    operation = op(f"enqueue_{function}", "Functions", summary or function, replies, *_ENQUEUE_PROBLEMS)
    if rest.strip():
        operation["description"] = rest.strip()
    body = json_body(ref(f"{function}.payload"), sample)
    return operation | {"parameters": [_WAIT, _KEY, *option_parameters(settings)], "requestBody": body}
