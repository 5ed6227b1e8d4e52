"""What descriptions of paths are made of: operations, replies, bodies, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.gateway.openapi.json_schema import MOMENT, Schema, array, ref

_PROBLEMS = {
    400: "the body cannot be read",
    401: "no access key came, or none that is valid",
    403: "a page of another site asked, or the access key does not allow this",
    404: "there is no such function or job",
    409: "the status does not allow it, the function loads nowhere, or a history is missing",
    413: "the body is too large",
    415: "the media type is not understood",
    421: "the gateway does not answer to the name in the Host header",
    422: "a field or parameter is wrong",
    429: "too many jobs of the function wait, or the access key asks too often",
    503: "Redis does not answer, or no function is known yet",
}
_LINKS = {  # from a job that was created, by the operation that takes its id
    "look": "show_job",
    "result": "show_result",
    "output": "show_output",
    "log": "show_log",
    "cancel": "cancel_job",
    "delete": "delete_job",
    "move": "move_job",
    "run": "run_job",
    "retry": "retry_job",
}
JOB_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
REFUSED_ALONE = {"description": "anything else is refused by itself, and the rest of the batch stored"}


def op(name: str, tag: str, summary: str, replies: Mapping[str, Schema], *problems: int) -> Schema:
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


def reply(text: str, schema: str, *, location: bool = False) -> Schema:
    reply = json_reply(text, ref(schema))
    if location:
        reply["headers"] = {"Location": {"description": "the job", "schema": {"type": "string"}}}
        reply["links"] = {
            name: {"operationId": operation, "parameters": {"id": "$response.body#/id"}}
            for name, operation in _LINKS.items()
        }
    return reply


def json_reply(text: str, schema: Schema) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def text(*kinds: str) -> Schema:
    return {"description": "the text", "content": {kind: {"schema": {"type": "string"}} for kind in kinds}}


def streamed(reply: Schema) -> Schema:
    """For a client that accepts events, the job's: status, progress, output, log, settled, gap."""
    reply["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return reply


def tagged() -> Schema:
    return {"headers": {"ETag": {"description": "changes with the job", "schema": {"type": "string"}}}}


def unchanged() -> Schema:
    return {"description": "it has not changed"}


def stopped(job: Schema) -> Schema:
    return {"200": job, "202": reply("its attempt is being stopped", "Job")}


def json_body(schema: Schema, sample: Any) -> Schema:
    content: Schema = {"schema": schema}
    if sample is not None:
        content["example"] = sample
    return {"required": True, "content": {"application/json": content}}


def batch_body(sample: Any) -> Schema:
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": array({"anyOf": [ref("BatchItem"), REFUSED_ALONE]}, maxItems=10_000),
                "example": [sample],
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "a job a line"}},
        },
    }


def query(name: str, schema: Schema, *, required: bool = False, text: str = "") -> Schema:
    parameter: Schema = {"name": name, "in": "query", "required": required, "schema": schema}
    return parameter | ({"description": text} if text else {})


def path(name: str, values: Sequence[str]) -> Schema:
    """A part of the path; one of `values`, where there are any."""
    schema = {"type": "string", "enum": list(values)} if values else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def limit() -> Schema:
    return query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50})


def cursor() -> Schema:
    return query("cursor", {"type": "string"}, text="what the page before gave as `cursor`")


def offset() -> Schema:
    return query("cursor", {"type": "string", "pattern": "^[0-9]{0,6}$"}, text="what the page before gave")


def status(values: Sequence[str], *, required: bool = False) -> Schema:
    return query("status", {"type": "string", "enum": list(values)}, required=required)


def filter_schemas() -> dict[str, Schema]:
    return {
        "error": {"type": "string"},
        "after": MOMENT,
        "before": MOMENT,
        "limit": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }
