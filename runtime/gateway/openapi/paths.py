"""What each path of the API does, takes and gives. A test holds this against the routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.gateway.openapi.parts import (
    JOB_ID,
    batch_body,
    cursor,
    filter_schemas,
    json_body,
    json_reply,
    limit,
    offset,
    op,
    path,
    query,
    reply,
    status,
    stopped,
    streamed,
    tagged,
    text,
    unchanged,
)
from runtime.gateway.openapi.schemas import MOMENT, TAG, Schema, lane_names, option_parameters, ref
from runtime.gateway.problem_help import EXPLAINED
from runtime.jobs import built_in
from runtime.jobs.job import STATUSES
from runtime.settings import Settings

_PAGE_KINDS = ("text/javascript", "text/css")
PAGE_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
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
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "the `ETag` that is known: 304 where the job has not changed",
    "schema": {"type": "string"},
}
_ANY_BODY = {"required": False, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
_UNIQUE_KEY = {"name": "key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_UUID7 = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TREE = query("tree", {"type": "boolean"}, text="what the job has started too, whether it has settled or not")


def operations(settings: Settings, functions: Sequence[str], sample: Any) -> dict[str, dict[str, Schema]]:
    """Operation objects by path and method. `functions`: the names that are known. `sample`: a job of one."""
    lane = path("lane", [str(value) for value in lane_names(settings)])
    function = path("function", functions)
    # each function that is known has a path of its own for that, and nobody enqueues those that are built in
    other = {
        **function,
        "schema": {"type": "string", "minLength": 1, "not": {"enum": sorted({*functions, *built_in.NAMES})}},
    }
    job = reply("the job, as it is now", "Job")
    found = streamed(reply("the job that the key found, or settled", "Job"))
    accepted = streamed(reply("the whole job, stored", "Job", location=True))
    message = {"200": reply("done", "Message")}
    window = [limit(), cursor()]
    failed_filter = [query(name, schema) for name, schema in filter_schemas().items()]
    create = {"200": found, "202": accepted}
    look = {
        "200": streamed(reply("the job, as it is now", "Job")) | tagged(),
        "202": reply("not settled in time", "Job"),
        "304": unchanged(),
    }
    body = json_body(ref("JobRequest"), sample)
    paths: dict[str, dict[str, Schema]] = {
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
            | {"parameters": [JOB_ID, _WAIT, _IF_NONE_MATCH]},
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
            | {"deprecated": True, "parameters": [JOB_ID, _WAIT, _IF_NONE_MATCH]}
        },
        "/functions": {
            "get": op("list_functions", "Functions", "What is deployed", {"200": reply("all", "FunctionList")})
        },
        "/functions/{function}": {
            "get": op("show_function", "Functions", "One function", {"200": reply("the function", "Function")}, 404)
            | {"parameters": [function]}
        },
        "/functions/{function}/jobs": {
            "delete": op(
                "clear_function",
                "Queues",
                "Cancel a function's jobs that wait",
                {"200": reply("how many", "Cleared")},
                403,
                404,
                422,
            )
            | {"parameters": [function, status(["pending", "scheduled"], required=True)]},
        },
        "/hooks/{function}": {
            method: op(
                f"receive_hook_{method}",
                "Jobs",
                "What a provider sends, as it is",
                {"200": reply("it came before", "HookReply"), "202": reply("a job is stored", "HookReply")},
                401,
                403,
                404,
                409,
                413,
                422,
                429,
            )
            | {"parameters": [function], "requestBody": _ANY_BODY}
            for method in ("post", "put", "patch", "delete")
        },
        "/functions/{function}/unique/{key}": {
            "get": op("show_unique", "Jobs", "The job under a unique key", {"200": job}, 404)
            | {"parameters": [function, _UNIQUE_KEY]},
            "delete": op("cancel_unique", "Jobs", "Cancel the job under a key", stopped(job), 403, 404, 409)
            | {"parameters": [function, _UNIQUE_KEY]},
        },
        "/functions/{function}/pause": {
            "post": op("pause_function", "Queues", "Take none of its jobs", message, 403, 404, 409)
            | {"parameters": [function]}
        },
        "/functions/{function}/resume": {
            "post": op("resume_function", "Queues", "Take its jobs again", message, 403, 404)
            | {"parameters": [function]}
        },
        "/functions/{function}/dead": {
            "get": op("list_dead", "Failed jobs", "Its failed jobs", {"200": reply("a page", "JobPage")}, 404, 422)
            | {"parameters": [function, limit(), offset()]},
            "delete": op(
                "purge_dead",
                "Failed jobs",
                "Delete failed jobs",
                {"200": reply("how many", "Purged")},
                403,
                404,
                422,
            )
            | {"parameters": [function, *failed_filter]},
        },
        "/functions/{function}/dead/replay": {
            "post": op(
                "replay_dead",
                "Failed jobs",
                "Run failed jobs again",
                {"202": reply("how many", "Replayed")},
                400,
                404,
                413,
                415,
                422,
            )
            | {
                "parameters": [function],
                "requestBody": json_body(ref("Replay"), {"error": "Timeout", "rate": "100/m"}),
            }
        },
        "/lanes/{lane}/pause": {
            "post": op("pause_lane", "Queues", "Take no jobs of a lane", message, 403, 409, 422)
            | {"parameters": [lane]}
        },
        "/lanes/{lane}/resume": {
            "post": op("resume_lane", "Queues", "Take a lane's jobs again", message, 403, 422)
            | {"parameters": [lane]}
        },
        "/scale/{function}": {
            "get": op(
                "show_scale", "Functions", "How much work it has", {"200": reply("figures", "Scale")}, 404, 422
            )
            | {
                "parameters": [
                    function,
                    query(
                        "target", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, text="jobs a worker"
                    ),
                ]
            }
        },
        "/workers": {
            "get": op("list_workers", "Functions", "Who is alive", {"200": reply("all workers", "WorkerList")})
        },
        "/healthz": {"get": op("show_alive", "Health", "Whether it lives", {"200": reply("it lives", "Alive")})},
        "/readyz": {
            "get": op("show_ready", "Health", "Whether jobs can be stored", {"200": reply("yes", "Alive")})
        },
        "/health": {
            "get": op("show_health", "Health", "As GET /readyz", {"200": reply("yes", "Alive")})
            | {"deprecated": True}
        },
        "/metrics": {"get": op("show_metrics", "Health", "For Prometheus", {"200": text("text/plain")})},
        "/openapi.json": {
            "get": op(
                "show_document",
                "Description",
                "This document",
                {"200": json_reply("OpenAPI 3.1", {}), "304": unchanged()},
            )
            | {"parameters": [_IF_NONE_MATCH]}
        },
        "/docs": {"get": op("show_docs", "Description", "The API as a page", {"200": text("text/html")})},
        "/swagger": {
            "get": op("show_swagger", "Description", "As GET /docs", {"200": text("text/html")})
            | {"deprecated": True}
        },
        "/swagger/index.html": {
            "get": op("show_swagger_page", "Description", "As GET /docs", {"200": text("text/html")})
            | {"deprecated": True}
        },
        "/docs/{file}": {
            "get": op(
                "show_docs_file",
                "Description",
                "A file of that page",
                {"200": text("text/javascript", "text/css")},
                404,
            )
            | {"parameters": [path("file", PAGE_FILES)]}
        },
        "/problems/{code}": {
            "get": op("show_problem", "Description", "What a problem means", {"200": text("text/html")}, 404)
            | {"parameters": [path("code", sorted(EXPLAINED))]}
        },
    }
    post = op("create_function_job", "Jobs", "Enqueue the body as a payload", create, *_ENQUEUE_PROBLEMS)
    body = json_body({}, None) | {"required": False}
    parameters = [other, _WAIT, _KEY, *option_parameters(settings)]
    paths["/functions/{function}/jobs"]["post"] = post | {"parameters": parameters, "requestBody": body}
    return paths


_ENQUEUE_PROBLEMS = (400, 403, 404, 409, 413, 415, 422, 429)


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
