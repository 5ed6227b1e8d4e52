"""What a request may say with a job: the options, and the request as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.client.follow_ups import FIELDS
from runtime.gateway.openapi.json_schema import MOMENT, Schema, array, nullable, obj, ref
from runtime.gateway.payload_jobs import NAMES
from runtime.jobs import callback, tags
from runtime.jobs.request import MAX_ATTEMPTS, MAX_FOLLOW_UPS, ONS
from runtime.settings import Settings

_FIELD: Schema = {"type": "string", "enum": list(FIELDS)}
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
_LENGTH = r"^([0-9]{1,7}(\.[0-9]{1,3})?(ms|s|m)?|[0-9]{1,4}(\.[0-9]{1,3})?[hd])$"
_NUMBER = {"type": "number", "minimum": 0, "maximum": 3_153_600_000}


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


def option_components(settings: Settings, functions: Mapping[str, bool]) -> dict[str, Schema]:
    """The schemas of options, and of a request for each function. `functions`: as `components` has it."""
    options = job_options(settings)
    requests = {f"{name}.request": _request(name, functions) for name in functions}
    requests = requests or {"AnyJobRequest": _request(None, {})}
    follow_ups = {f"{name}.follow_up": _request(name, functions, follows=True) for name in functions}
    follow_ups = follow_ups or {"AnyFollowUp": _request(None, {}, follows=True)}
    options["then"] = {**options["then"], "items": ref("FollowUp")}
    return {
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
        "Move": obj(
            {name: options[name] for name in ("run_at", "delay")}, optional=("run_at", "delay"), closed=True
        )
        | {"minProperties": 1, "maxProperties": 1},
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
