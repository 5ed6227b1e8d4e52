"""What each path of the API does, takes and gives. A test holds this against the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.gateway.explained import EXPLAINED
from runtime.gateway.openapi.schemas import MOMENT, Schema, array, lane_names, option_parameters, ref
from runtime.jobs.job import STATUSES
from runtime.settings import Settings

_REFUSED_ALONE = {"description": "anything else is refused by itself, and the rest of the batch stored"}
_PAGE_KINDS = ("text/javascript", "text/css")
_LINKS = {  # from a job that was created, by the operation that takes its id
    "look": "show_job",
    "result": "show_result",
    "cancel": "cancel_job",
    "delete": "delete_job",
    "move": "move_job",
    "run": "run_job",
    "retry": "retry_job",
}
PAGE_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
_PROBLEMS = {
    400: "the body cannot be read",
    403: "a page of another site asked",
    404: "there is no such function or job",
    409: "the status does not allow it, or the function loads nowhere",
    413: "the body is too large",
    415: "the media type is not understood",
    421: "the gateway does not answer to the name in the Host header",
    422: "a field or parameter is wrong",
    429: "too many jobs of the function wait",
    503: "Redis does not answer, or no function is known yet",
}
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
_UNIQUE_KEY = {"name": "key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}


def operations(settings: Settings, functions: Sequence[str]) -> dict[str, dict[str, Schema]]:
    """Operation objects by path and method. `functions`: the names that are known."""
    lane = _path("lane", [str(value) for value in lane_names(settings)])
    function = _path("function", functions)
    # each function that is known has a path of its own for that
    other = {**function, "schema": {"type": "string", "minLength": 1, "not": {"enum": list(functions)}}}
    job = _reply("the job, as it is now", "Job")
    found = _streamed(_reply("the job that the key found, or settled", "Job"))
    accepted = _streamed(_reply("the whole job, stored", "Job", location=True))
    message = {"200": _reply("done", "Message")}
    window = [_limit(), _cursor()]
    failed_filter = [_query(name, schema) for name, schema in _filter_schemas().items()]
    create = {"200": found, "202": accepted}
    look = {
        "200": _streamed(_reply("the job, as it is now", "Job")) | _tagged(),
        "202": _reply("not settled in time", "Job"),
        "304": _unchanged(),
    }
    body = _body(ref("JobRequest"), {"type": "math", "payload": {"a": "5", "b": "3"}})
    paths: dict[str, dict[str, Schema]] = {
        "/jobs": {
            "post": _op("create_job", "Jobs", "Enqueue a job", create, 400, 403, 404, 409, 413, 415, 422, 429)
            | {"parameters": [_WAIT, _KEY], "requestBody": body},
            "get": _op(
                "list_jobs", "Jobs", "List jobs, the newest first", {"200": _reply("a page", "JobPage")}, 422
            )
            | {"parameters": [*window, _query("type", {"type": "string"}), _status(list(STATUSES))]},
        },
        "/jobs/batch": {
            "post": _op(
                "create_jobs",
                "Jobs",
                "Enqueue many jobs",
                {"202": _reply("all stored or found", "BatchReply"), "207": _reply("some refused", "BatchReply")},
                400,
                413,
                415,
                422,
            )
            | {"requestBody": _batch_body()}
        },
        "/jobs/pause": {
            "post": _op("pause_all", "Queues", "Take no more jobs", message, 403, 409),
            "get": _op("list_paused", "Queues", "What is paused", {"200": _reply("what is paused", "Paused")}),
        },
        "/jobs/resume": {"post": _op("resume_all", "Queues", "Take jobs again", message, 403)},
        "/jobs/{id}": {
            "get": _op("show_job", "Jobs", "A job; with wait, once it has settled", look, 404, 422)
            | {"parameters": [_ID, _WAIT, _IF_NONE_MATCH]},
            "delete": _op("delete_job", "Jobs", "Cancel a job", _stopped(job), 403, 404, 409)
            | {"parameters": [_ID]},
            "patch": _op(
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
            | {"parameters": [_ID], "requestBody": _body(ref("Move"), {"delay": "10m"})},
        },
        "/jobs/{id}/cancel": {
            "post": _op("cancel_job", "Jobs", "Cancel a job", _stopped(job), 403, 404, 409) | {"parameters": [_ID]}
        },
        "/jobs/{id}/retry": {
            "post": _op("retry_job", "Jobs", "Run a failed job again", {"202": job}, 403, 404, 409)
            | {"parameters": [_ID]}
        },
        "/jobs/{id}/run": {
            "post": _op("run_job", "Jobs", "Start a scheduled job now", {"200": job}, 403, 404, 409)
            | {"parameters": [_ID]}
        },
        "/jobs/{id}/result": {
            "get": _op(
                "show_result", "Jobs", "The bare result", {"200": _json_reply("the result", {})}, 404, 409, 422
            )
            | {"parameters": [_ID, _WAIT]}
        },
        "/job": {
            "post": _op("create_job_alias", "Jobs", "As POST /jobs", create, 400, 403, 404, 409, 413, 415, 422, 429)
            | {"deprecated": True, "parameters": [_WAIT, _KEY], "requestBody": body}
        },
        "/job/{id}": {
            "get": _op("show_job_alias", "Jobs", "As GET /jobs/{id}", look, 404, 422)
            | {"deprecated": True, "parameters": [_ID, _WAIT, _IF_NONE_MATCH]}
        },
        "/functions": {
            "get": _op("list_functions", "Functions", "What is deployed", {"200": _reply("all", "FunctionList")})
        },
        "/functions/{function}": {
            "get": _op(
                "show_function", "Functions", "One function", {"200": _reply("the function", "Function")}, 404
            )
            | {"parameters": [function]}
        },
        "/functions/{function}/jobs": {
            "delete": _op(
                "clear_function",
                "Queues",
                "Cancel a function's jobs that wait",
                {"200": _reply("how many", "Cleared")},
                403,
                404,
                422,
            )
            | {"parameters": [function, _status(["pending", "scheduled"], required=True)]},
        },
        "/functions/{function}/unique/{key}": {
            "get": _op("show_unique", "Jobs", "The job under a unique key", {"200": job}, 404)
            | {"parameters": [function, _UNIQUE_KEY]},
            "delete": _op("cancel_unique", "Jobs", "Cancel the job under a key", _stopped(job), 403, 404, 409)
            | {"parameters": [function, _UNIQUE_KEY]},
        },
        "/functions/{function}/pause": {
            "post": _op("pause_function", "Queues", "Take none of its jobs", message, 403, 404, 409)
            | {"parameters": [function]}
        },
        "/functions/{function}/resume": {
            "post": _op("resume_function", "Queues", "Take its jobs again", message, 403, 404)
            | {"parameters": [function]}
        },
        "/functions/{function}/dead": {
            "get": _op(
                "list_dead", "Failed jobs", "Its failed jobs", {"200": _reply("a page", "JobPage")}, 404, 422
            )
            | {"parameters": [function, _limit(), _offset()]},
            "delete": _op(
                "purge_dead",
                "Failed jobs",
                "Delete failed jobs",
                {"200": _reply("how many", "Purged")},
                403,
                404,
                422,
            )
            | {"parameters": [function, *failed_filter]},
        },
        "/functions/{function}/dead/replay": {
            "post": _op(
                "replay_dead",
                "Failed jobs",
                "Run failed jobs again",
                {"202": _reply("how many", "Replayed")},
                400,
                404,
                413,
                415,
                422,
            )
            | {
                "parameters": [function],
                "requestBody": _body(ref("Replay"), {"error": "Timeout", "rate": "100/m"}),
            }
        },
        "/lanes/{lane}/pause": {
            "post": _op("pause_lane", "Queues", "Take no jobs of a lane", message, 403, 409, 422)
            | {"parameters": [lane]}
        },
        "/lanes/{lane}/resume": {
            "post": _op("resume_lane", "Queues", "Take a lane's jobs again", message, 403, 422)
            | {"parameters": [lane]}
        },
        "/scale/{function}": {
            "get": _op(
                "show_scale", "Functions", "How much work it has", {"200": _reply("figures", "Scale")}, 404, 422
            )
            | {
                "parameters": [
                    function,
                    _query(
                        "target", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, text="jobs a worker"
                    ),
                ]
            }
        },
        "/workers": {
            "get": _op("list_workers", "Functions", "Who is alive", {"200": _reply("all workers", "WorkerList")})
        },
        "/healthz": {"get": _op("show_alive", "Health", "Whether it lives", {"200": _reply("it lives", "Alive")})},
        "/readyz": {
            "get": _op("show_ready", "Health", "Whether jobs can be stored", {"200": _reply("yes", "Alive")})
        },
        "/health": {
            "get": _op("show_health", "Health", "As GET /readyz", {"200": _reply("yes", "Alive")})
            | {"deprecated": True}
        },
        "/metrics": {"get": _op("show_metrics", "Health", "For Prometheus", {"200": _text("text/plain")})},
        "/openapi.json": {
            "get": _op(
                "show_document",
                "Description",
                "This document",
                {"200": _json_reply("OpenAPI 3.1", {}), "304": _unchanged()},
            )
            | {"parameters": [_IF_NONE_MATCH]}
        },
        "/docs": {"get": _op("show_docs", "Description", "The API as a page", {"200": _text("text/html")})},
        "/swagger": {
            "get": _op("show_swagger", "Description", "As GET /docs", {"200": _text("text/html")})
            | {"deprecated": True}
        },
        "/swagger/index.html": {
            "get": _op("show_swagger_page", "Description", "As GET /docs", {"200": _text("text/html")})
            | {"deprecated": True}
        },
        "/docs/{file}": {
            "get": _op(
                "show_docs_file",
                "Description",
                "A file of that page",
                {"200": _text("text/javascript", "text/css")},
                404,
            )
            | {"parameters": [_path("file", PAGE_FILES)]}
        },
        "/problems/{code}": {
            "get": _op("show_problem", "Description", "What a problem means", {"200": _text("text/html")}, 404)
            | {"parameters": [_path("code", sorted(EXPLAINED))]}
        },
    }
    post = _op("create_function_job", "Jobs", "Enqueue the body as a payload", create, *_ENQUEUE_PROBLEMS)
    body = _body({}, None) | {"required": False}
    parameters = [other, _WAIT, _KEY, *option_parameters(settings)]
    paths["/functions/{function}/jobs"]["post"] = post | {"parameters": parameters, "requestBody": body}
    return paths


_ENQUEUE_PROBLEMS = (400, 403, 404, 409, 413, 415, 422, 429)


def function_operation(function: str, doc: str, sample: Any, settings: Settings) -> Schema:
    """The operation that enqueues one function's jobs."""
    summary, _, rest = doc.strip().partition("\n")
    replies = {
        "200": _reply("the job that the key found, or settled", f"{function}.job"),
        "202": _reply("the whole job, stored", f"{function}.job", location=True),
    }
    operation = _op(f"enqueue_{function}", "Functions", summary or function, replies, *_ENQUEUE_PROBLEMS)
    if rest.strip():
        operation["description"] = rest.strip()
    body = _body(ref(f"{function}.payload"), sample)
    return operation | {"parameters": [_WAIT, _KEY, *option_parameters(settings)], "requestBody": body}


def _op(name: str, tag: str, summary: str, replies: Mapping[str, Schema], *problems: int) -> Schema:
    responses = dict(replies)
    for status in sorted({*problems, 421, 503}):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}


def problem_responses() -> dict[str, Schema]:
    """By status."""
    content = {"application/problem+json": {"schema": ref("Problem")}}
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {
        str(status): {"description": text, "content": content}
        | ({"headers": retry} if status in (429, 503) else {})
        for status, text in _PROBLEMS.items()
    }


def _reply(text: str, schema: str, *, location: bool = False) -> Schema:
    reply = _json_reply(text, ref(schema))
    if location:
        reply["headers"] = {"Location": {"description": "the job", "schema": {"type": "string"}}}
        reply["links"] = {
            name: {"operationId": operation, "parameters": {"id": "$response.body#/id"}}
            for name, operation in _LINKS.items()
        }
    return reply


def _json_reply(text: str, schema: Schema) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _text(*kinds: str) -> Schema:
    return {"description": "the text", "content": {kind: {"schema": {"type": "string"}} for kind in kinds}}


def _streamed(reply: Schema) -> Schema:
    """For a client that accepts events, the job's: status, progress, settled, gap."""
    reply["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return reply


def _tagged() -> Schema:
    return {"headers": {"ETag": {"description": "changes with the job", "schema": {"type": "string"}}}}


def _unchanged() -> Schema:
    return {"description": "it has not changed"}


def _stopped(job: Schema) -> Schema:
    return {"200": job, "202": _reply("its attempt is being stopped", "Job")}


def _body(schema: Schema, sample: Any) -> Schema:
    content: Schema = {"schema": schema}
    if sample is not None:
        content["example"] = sample
    return {"required": True, "content": {"application/json": content}}


def _batch_body() -> Schema:
    sample = [{"type": "math", "payload": {"a": "5", "b": "3"}}]
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": array({"anyOf": [ref("BatchItem"), _REFUSED_ALONE]}, maxItems=10_000),
                "example": sample,
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "a job a line"}},
        },
    }


def _query(name: str, schema: Schema, *, required: bool = False, text: str = "") -> Schema:
    parameter: Schema = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | ({"description": text} if text else {})


def _path(name: str, values: Sequence[str]) -> Schema:
    """A part of the path; one of `values`, where there are any."""
    schema = {"type": "string", "enum": list(values)} if values else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _limit() -> Schema:
    return _query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50})


def _cursor() -> Schema:
    return _query("cursor", {"type": "string"}, text="what the page before gave as `cursor`")


def _offset() -> Schema:
    return _query("cursor", {"type": "string", "pattern": "^[0-9]{0,6}$"}, text="what the page before gave")


def _status(values: Sequence[str], *, required: bool = False) -> Schema:
    return _query("status", {"type": "string", "enum": list(values)}, required=required)


def _filter_schemas() -> dict[str, Schema]:
    return {
        "error": {"type": "string"},
        "after": MOMENT,
        "before": MOMENT,
        "limit": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }
