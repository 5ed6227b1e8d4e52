"""What the API says of CloudEvents."""

from __future__ import annotations

from runtime.gateway.events import BATCHED, MAX_EVENTS, STRUCTURED
from runtime.gateway.openapi.json_schema import MOMENT, UUID, Schema, array, nullable, obj, ref
from runtime.gateway.openapi.parts import REFUSED_ALONE, op, query, reply
from runtime.jobs.event import MAX_LENGTH

_NAME = {"pattern": "^([a-z0-9]{1,64}|data_base64)$"}
_PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": _PRINTABLE}
_VALUE: Schema = {
    "anyOf": [
        {"type": "string", "pattern": _PRINTABLE},
        {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1},
        {"type": "boolean"},
        {"type": "null"},
    ]
}
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_SAMPLE = {
    "specversion": "1.0",
    "type": "order.created",
    "source": "/shop",
    "id": "e1",
    "data": {"order": "o1"},
}
_ABOUT = (
    "Each function that subscribes to the event, with `@function(on=…)`, gets a job whose payload is the data. In "
    "binary mode the attributes are headers, `ce-id`, `ce-source`, `ce-type`, `ce-specversion`, and the body is "
    "the data. The same source and id again, within 24 hours, make no job again."
)
_FOLLOWING = (
    "Each new status of each job: as a stream for a client that accepts `text/event-stream`, which `Last-Event-ID` "
    "goes on; else those behind `after`, the position of an earlier reply."
)
_FILTERS = [
    query("after", {"type": "string"}),
    query("type", {"type": "string"}, text="of these functions, with commas between them"),
    query("status", {"type": "string", "enum": ["completed", "failed", "completed,failed"]}, text="these alone"),
]


def components() -> dict[str, Schema]:
    attributes = {
        "specversion": {"const": "1.0"},
        **dict.fromkeys(("id", "source", "type"), _TEXT),
        **{name: nullable(_TEXT) for name in ("subject", "datacontenttype", "dataschema")},
        "time": nullable(MOMENT),
    }
    return {
        "CloudEvent": obj(
            {
                **attributes,
                "data": {"description": "what the subscribers get as payload"},
                "data_base64": nullable({"type": "string", "pattern": _BASE64}),
            },
            optional=("subject", "time", "datacontenttype", "dataschema", "data", "data_base64"),
            description="CloudEvents 1.0; other properties are extension attributes.",
            propertyNames=_NAME,
            additionalProperties=_VALUE,
        )
        | {"not": {"required": ["data", "data_base64"], "properties": {"data": {}, "data_base64": {}}}},
        "Published": obj(
            {
                "id": {"type": "string"},
                "source": {"type": "string"},
                "jobs": array(UUID, description="one for each subscriber"),
                "new": {"type": "boolean", "description": "whether it had not been published before"},
            },
            closed=True,
        ),
        "Changes": obj(
            {
                "changes": array(ref("Change")),
                "position": {"type": "string", "description": "to go on from, as `after`"},
                "gap": {"type": "boolean", "description": "whether changes behind `after` are no longer kept"},
            },
            closed=True,
        ),
        "Change": obj(
            {"id": UUID, "type": {"type": "string"}, "status": ref("Status"), "attempt": {"type": "integer"}},
            closed=True,
        ),
        "PublishedBatch": obj(
            {
                "published": {"type": "integer"},
                "refused": {"type": "integer"},
                "results": array({"anyOf": [ref("Published"), obj({"problem": ref("Problem")}, closed=True)]}),
            },
            description="One result for each event, in the order of the request.",
        ),
    }


def operations() -> dict[str, dict[str, Schema]]:
    replies = {
        "202": {
            "description": "the jobs that it became",
            "content": {"application/json": {"schema": {"anyOf": [ref("Published"), ref("PublishedBatch")]}}},
        },
        "207": reply("of a batch, some refused", "PublishedBatch"),
    }
    batch = array({"anyOf": [ref("CloudEvent"), REFUSED_ALONE]}, maxItems=MAX_EVENTS)
    content = {
        STRUCTURED: {"schema": ref("CloudEvent"), "example": _SAMPLE},
        BATCHED: {"schema": batch, "example": [_SAMPLE]},
    }
    publish = op("publish_event", "Events", "Publish an event", replies, 400, 413, 415, 422, 429)
    publish |= {"description": _ABOUT, "requestBody": {"required": True, "content": content}}
    changes = reply("the changes behind `after`", "Changes")
    changes["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    show = op("list_changes", "Events", "Follow all jobs", {"200": changes}, 422)
    show |= {"description": _FOLLOWING, "parameters": _FILTERS}
    return {"/events": {"post": publish, "get": show}}
