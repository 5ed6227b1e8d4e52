"""The schemas of what the API takes and gives, beside those of the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.client.follow_ups import FIELDS
from runtime.gateway.payload_jobs import NAMES
from runtime.jobs import callback, tags
from runtime.jobs.job import STATUSES
from runtime.jobs.request import MAX_ATTEMPTS, MAX_FOLLOW_UPS, ONS
from runtime.settings import Settings

Schema = dict[str, Any]

UUID: Schema = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}
# from 1970 to 9000
MOMENT = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][1-9]|[2-7][0-9]{3}|8[0-8][0-9]{2})-"}
_NOTHING = {"type": "null"}
_FIELD = {"type": "string", "enum": list(FIELDS)}
_CALLBACK_URL = {
    "type": "string",
    "pattern": r"^https?://[A-Za-z0-9-]{1,60}(\.[A-Za-z0-9-]{1,60}){0,4}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~/?=&%-]*)?$",
    "maxLength": 2000,
    "examples": ["https://example.com/hook"],
}
_TAG = "[a-z][a-z0-9_.-]{0,31}:[A-Za-z0-9_.-]{1,100}"
_TAG_NAME = {"pattern": "^[a-z][a-z0-9_.-]{0,31}$"}
_TAG_VALUE = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9_.:/@ -]*$"}
_TAGS = {"maxProperties": tags.MAX_TAGS}
TAG: Schema = {"type": "string", "pattern": f"^{_TAG}$", "examples": ["order:o1"]}
_CALLBACKS = {"minItems": 1, "maxItems": callback.MAX_CALLBACKS}
_OMITTED = ("payload", "result", "history", "children", "then", "event")
_LENGTH = r"^([0-9]{1,7}(\.[0-9]{1,3})?(ms|s|m)?|[0-9]{1,4}(\.[0-9]{1,3})?[hd])$"
_NUMBER = {"type": "number", "minimum": 0, "maximum": 3_153_600_000}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(properties: Schema, *, optional: tuple[str, ...] = (), closed: bool = False, **rest: Any) -> Schema:
    """An object; all properties that are not `optional` are required. `closed`: it has no others."""
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties, **rest}
    if required:
        schema["required"] = required
    if closed:
        schema["additionalProperties"] = False
    return schema


def nullable(schema: Schema) -> Schema:
    if "$ref" in schema or "anyOf" in schema:
        return {"anyOf": [schema, _NOTHING]}
    return {**schema, "type": [schema["type"], "null"]}


def array(items: Schema, **rest: Any) -> Schema:
    return {"type": "array", "items": items, **rest}


def lane_names(settings: Settings) -> list[Any]:
    """What `priority` may be: names of lanes, their numbers, and the three that are always understood."""
    numbers = [] if settings.lanes[0].isdecimal() else list(range(len(settings.lanes)))
    return [*dict.fromkeys((*settings.lanes, "low", "normal", "high")), *numbers]


def _priority(settings: Settings) -> Schema:
    names = [name for name in lane_names(settings) if isinstance(name, str)]
    numbers = [number for number in lane_names(settings) if isinstance(number, int)]
    kinds = [{"type": "string", "enum": names}] + ([{"type": "integer", "enum": numbers}] if numbers else [])
    return {"anyOf": kinds, "description": "a lane's name, or its number from the lowest"}


def job_options(settings: Settings) -> dict[str, Schema]:
    """What may be said with a job, by name."""
    length: Schema = {"anyOf": [_NUMBER, {"type": "string", "pattern": _LENGTH}], "examples": ["10m"]}
    moment = {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 221_845_132_800_000, "description": "Unix milliseconds"},
            MOMENT,
        ]
    }
    return {
        "priority": _priority(settings),
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        "run_at": {**moment, "description": "when it starts; a past time means now"},
        "delay": {**length, "description": "seconds from now, or text such as 10m; not with run_at"},
        "ttl": {**length, "description": "how long after it may start it fails as expired if it has not"},
        "start_before": {**moment, "description": "by when it must have started"},
        "backoff": {"anyOf": [*length["anyOf"], ref("Backoff")], "description": "between two attempts"},
        "unique": {
            "type": "string",
            "minLength": 1,
            "description": '"payload", or a key: while an equal job waits or runs, that one is answered',
        },
        "callback": {
            "anyOf": [
                _CALLBACK_URL,
                ref("Callback"),
                array({"anyOf": [_CALLBACK_URL, ref("Callback")]}, **_CALLBACKS),
            ],
            "description": "what is told when the job settles: by a POST, signed as Standard Webhooks has it",
        },
        "tags": {
            "anyOf": [
                {
                    "type": "object",
                    "additionalProperties": _TAG_VALUE,
                    "propertyNames": _TAG_NAME,
                    **_TAGS,
                },
                {"type": "string", "pattern": f"^{_TAG}$"},
            ],
            "description": "what it belongs to, to find and cancel it by; as text, name:value with commas between",
            "examples": [{"order": "o1"}],
        },
        "then": {
            "type": "array",
            "items": ref("JobRequest"),
            "maxItems": MAX_FOLLOW_UPS,
            "description": "jobs that start when this one has completed, or as their `on` says. In their payloads "
            'an object {"$job": "result"} stands for a field of this job, {"$job": ["id", "result"]} for several',
        },
    }


def components(settings: Settings, functions: Mapping[str, bool]) -> dict[str, Schema]:
    """The schemas that stand in the document beside the functions' own.

    `functions`: whether each needs a payload, by name.
    """
    options = job_options(settings)
    requests = {f"{name}.request": _request(name, functions) for name in functions}
    requests = requests or {"AnyJobRequest": _request(None, {})}
    follow_ups = {f"{name}.follow_up": _request(name, functions, follows=True) for name in functions}
    follow_ups = follow_ups or {"AnyFollowUp": _request(None, {}, follows=True)}
    options["then"] = {**options["then"], "items": ref("FollowUp")}
    return {
        "Status": {"type": "string", "enum": list(STATUSES)},
        "Job": _job(),
        "Attempt": obj(
            {
                "attempt": {"type": "integer"},
                "started_at": nullable(_TIME),
                "ended_at": nullable(_TIME),
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
        **{_option_name(name): schema for name, schema in options.items()},
        **requests,
        "JobRequest": {
            "description": "A job. In place of `type` and `payload`, `job_type` and `input` are understood.",
            **_any_of(list(requests)),
        },
        **follow_ups,
        "FollowUp": {
            "description": "A job that starts when the one before it has settled.",
            **_any_of(list(follow_ups)),
        },
        "Callback": obj(
            {"url": _CALLBACK_URL, "on": array({"type": "string", "enum": list(callback.EVENTS)}, minItems=1)},
            optional=("on",),
            closed=True,
            description="A URL, and of which ends it wants to hear: of all, where nothing is said.",
        ),
        "Tagged": obj(
            {"matched": {"type": "integer"}, "cancelled": {"type": "integer"}, "partial": {"type": "boolean"}}
        ),
        "HookReply": obj({"id": UUID}, description="The job that a delivery became."),
        "JobFields": obj(
            {"$job": {"anyOf": [_FIELD, array(_FIELD, minItems=1, uniqueItems=True)]}},
            closed=True,
            description="A field of the job before, or an object of several; also anywhere within a payload.",
        ),
        "Backoff": obj(
            {"base": options["ttl"], "cap": options["ttl"]},
            optional=("base", "cap"),
            closed=True,
            description="Exponential from `base` up to `cap`, with full jitter.",
        ),
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
                "started_at": _TIME,
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
        "Move": obj(
            {name: options[name] for name in ("run_at", "delay")}, optional=("run_at", "delay"), closed=True
        )
        | {"minProperties": 1, "maxProperties": 1},
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


def _any_of(names: Sequence[str]) -> Schema:
    return ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}


def _option_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _request(function: str | None, needs_payload: Mapping[str, bool], *, follows: bool = False) -> Schema:
    """A job of a function, or of any. `follows`: whether it stands in `then`."""
    options = {name: nullable(ref(_option_name(name))) for name in (*NAMES, "then")}
    if follows:
        options["on"] = nullable({"type": "string", "enum": [*ONS, None], "default": "completed"})
    kind: Schema = {"type": "string"} if function is None else {"const": function}
    payload: Schema = {} if function is None else ref(f"{function}.payload")
    if follows and function is not None:
        payload = {"anyOf": [payload, ref("JobFields")]}
    optional = tuple(options) if needs_payload.get(function or "") else ("payload", *options)
    both = {"not": {"required": ["run_at", "delay"], "properties": {"run_at": {}, "delay": {}}}}
    return obj({"type": kind, "payload": payload, **options}, optional=optional, closed=True, **both)


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
        "created_at": _TIME,
        "updated_at": _TIME,
        **{
            name: nullable(_TIME)
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


def option_parameters(settings: Settings) -> list[Schema]:
    """The options as parameters of a query, for requests whose body is the payload."""
    options = job_options(settings)
    parameters = []
    for name in NAMES:
        schema = dict(options[name])
        description = schema.pop("description", "")
        if name == "tags":
            schema = dict(TAG)
        if name == "callback":
            schema = dict(_CALLBACK_URL)
        if name in ("delay", "ttl", "backoff"):
            schema = {"type": "string", "pattern": _LENGTH}
        if name in ("run_at", "start_before"):  # "2030" would be a year
            unix = {"type": "integer", "minimum": 100_000_000, "maximum": 221_845_132_800_000}
            schema = {"anyOf": [unix, MOMENT]}
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
        )
    return parameters
