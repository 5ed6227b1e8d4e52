"""What each path of the API does, takes and gives. A test holds this against the routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.gateway.openapi.job_paths import IF_NONE_MATCH, job_operations, payload_operation
from runtime.gateway.openapi.job_requests import lane_names
from runtime.gateway.openapi.json_schema import Schema, ref
from runtime.gateway.openapi.parts import (
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
    text,
    unchanged,
)
from runtime.gateway.problem_help import EXPLAINED
from runtime.jobs import built_in
from runtime.settings import Settings

PAGE_FILES = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
_ANY_BODY = {"required": False, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
_UNIQUE_KEY = {"name": "key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


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
    message = {"200": reply("done", "Message")}
    failed_filter = [query(name, schema) for name, schema in filter_schemas().items()]
    paths: dict[str, dict[str, Schema]] = {
        **job_operations(settings, sample),
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
            | {"parameters": [IF_NONE_MATCH]}
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
    paths["/functions/{function}/jobs"]["post"] = payload_operation(other, settings)
    return paths
