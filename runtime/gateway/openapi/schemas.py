"""The schemas of what the API takes and gives, beside those of the functions."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.gateway.openapi.job_requests import job_options, option_components
from runtime.gateway.openapi.json_schema import TIME, UUID, Schema, array, nullable, obj, ref
from runtime.jobs.job import STATUSES
from runtime.jobs.request import ONS
from runtime.settings import Settings

_OMITTED = ("payload", "result", "history", "children", "then", "event")


def components(settings: Settings, functions: Mapping[str, bool]) -> dict[str, Schema]:
    """The schemas that stand in the document beside the functions' own.

    `functions`: whether each needs a payload, by name.
    """
    options = job_options(settings)
    return {
        **option_components(settings, functions),
        "Status": {"type": "string", "enum": list(STATUSES)},
        "Job": _job(),
        "Attempt": obj(
            {
                "attempt": {"type": "integer"},
                "started_at": nullable(TIME),
                "ended_at": nullable(TIME),
                "outcome": nullable({"type": "string"}),
                "worker": nullable({"type": "string"}),
                "version": nullable({"type": "string"}),
                "error": nullable(ref("JobError")),
                "ran_again_after_ms": {"type": "integer"},
            },
            optional=("ran_again_after_ms",),
        ),
        "JobError": obj(
            {"type": {"type": "string"}, "message": {"type": "string"}, "traceback": nullable({"type": "string"})},
            optional=("message", "traceback"),
            description="Why an attempt failed: the exception's class, its message, a shortened traceback.",
        ),
        "Tagged": obj(
            {"matched": {"type": "integer"}, "cancelled": {"type": "integer"}, "partial": {"type": "boolean"}}
        ),
        "HookReply": obj({"id": UUID}, description="The job that a delivery became."),
        "JobPage": obj(
            {
                "jobs": array(ref("Job")),
                "cursor": nullable({"type": "string", "description": "of the next page, null behind the last"}),
                "partial": {"type": "boolean", "description": "shorter than was asked for; go on with the cursor"},
            }
        ),
        "BatchItem": {
            "allOf": [ref("JobRequest")],
            "description": "A job; `idempotency_key` may stand beside its other fields.",
        },
        "BatchReply": obj(
            {
                "stored": {"type": "integer"},
                "refused": {"type": "integer"},
                "results": array({"anyOf": [ref("StoredJob"), obj({"problem": ref("Problem")}, closed=True)]}),
            },
            description="One result for each job, in the order of the request.",
        ),
        "StoredJob": obj({"id": UUID, "new": {"type": "boolean"}}, closed=True),
        "Function": obj(
            {
                "name": {"type": "string"},
                "serves": {"type": "string", "description": "the function's own name, where `name` is an alias"},
                "doc": {"type": "string"},
                "version": {"type": "string"},
                "lane": {"type": "string"},
                "timeout": {"type": "number"},
                "max_attempts": {"type": "integer"},
                "schema": {"type": "object", "description": "JSON Schema of the payload"},
                "returns": {"type": "object", "description": "JSON Schema of the result"},
                "on": array({"type": "string"}, description="patterns of the events that it subscribes to"),
                "where": {"type": "object", "description": "patterns of these events' attributes"},
                "broken": nullable({"type": "string"}),
                "trouble": nullable({"type": "string"}),
                "paused": {"type": "boolean"},
                "waiting": {"type": "integer"},
                "running": {"type": "integer"},
                "failed": {"type": "integer"},
            }
        ),
        "FunctionList": obj({"functions": array(ref("Function"))}),
        "Worker": obj(
            {
                "id": {"type": "string"},
                "functions": {"type": "object", "additionalProperties": {"type": "string"}},
                "concurrency": {"type": "integer"},
                "processes": {"type": "integer"},
                "started_at": TIME,
                "metrics": {"type": "string"},
                "broken": {"type": "object", "additionalProperties": {"type": "string"}},
            }
        ),
        "WorkerList": obj({"workers": array(ref("Worker"))}),
        "Paused": obj(
            {
                "paused": {"type": "boolean", "description": "whether everything is"},
                "functions": array({"type": "string"}),
                "lanes": array({"type": "string"}),
            }
        ),
        "Message": obj({"message": {"type": "string"}}),
        "Scale": obj(
            {
                "function": {"type": "string"},
                **{name: {"type": "integer"} for name in ("waiting", "running", "backlog", "desired_workers")},
            },
            optional=("desired_workers",),
        ),
        "Alive": obj({"status": {"const": "ok"}, "warnings": array({"type": "string"})}, optional=("warnings",)),
        "Replayed": obj({"replayed": {"type": "integer"}}),
        "Purged": obj({"purged": {"type": "integer"}}),
        "Cleared": obj({"cancelled": {"type": "integer"}, "partial": {"type": "boolean"}}),
        "Problem": obj(
            {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "errors": array(obj({"field": {"type": "string"}, "message": {"type": "string"}})),
                "near": array({"type": "string"}),
            },
            optional=("errors", "near"),
            description="RFC 9457. `type` is a page that explains it; `errors` names fields by JSON Pointer.",
        ),
        "Replay": obj(
            {
                "error": {"type": "string", "description": "a part of the error's type or message"},
                "after": options["run_at"],
                "before": options["run_at"],
                "limit": {"type": "integer", "minimum": 1},
                "rate": {"type": "string", "pattern": "^[1-9][0-9]{0,5}/[smh]$", "examples": ["100/m"]},
            },
            optional=("error", "after", "before", "limit", "rate"),
            closed=True,
        ),
    }


def _job() -> Schema:
    known = {
        "id": UUID,
        "type": {"type": "string"},
        "lane": {"type": "string"},
        "priority": {"type": "integer"},
        "status": ref("Status"),
        "payload": {"description": "as it was sent"},
        "result": {"description": "what the function returned; null until it has completed"},
        "error": nullable(ref("JobError")),
        "attempt": {"type": "integer", "description": "the number of the last attempt"},
        "max_attempts": {"type": "integer"},
        "attempts": array(ref("Attempt")),
        "progress": {"description": "the last report, or null"},
        "created_at": TIME,
        "updated_at": TIME,
        **{
            name: nullable(TIME)
            for name in ("run_at", "started_at", "finished_at", "start_before", "cancel_requested_at")
        },
        "parent": nullable(UUID),
        "children": array(UUID),
        "then": array(
            obj({"id": UUID, "type": {"type": "string"}, "on": array({"type": "string", "enum": list(ONS)})}),
            description="what starts when it has settled, until then",
        ),
        "event": nullable({"type": "object", "description": "the attributes of the event that brought it"}),
        "trace_id": nullable({"type": "string", "description": "of the trace that `traceparent` names"}),
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "archived": {
            "type": "boolean",
            "description": "whether it comes from history, because Redis has forgotten it",
        },
        "tree": obj(
            {"cancelled": {"type": "integer"}, "partial": {"type": "boolean"}},
            description="of a request to cancel with `tree`: how many jobs, and whether more may be left",
        ),
        "links": obj({"self": {"type": "string"}, "result": {"type": "string"}}),
        "warnings": array({"type": "string"}),
        **{f"{name}_omitted": {"type": "boolean"} for name in _OMITTED},
    }
    optional = ("warnings", "tree", *(f"{name}_omitted" for name in _OMITTED))
    return obj(known, optional=optional, description="A job, whole; lists leave out what is large.")
