"""What the API says of jobs' output and log."""

from __future__ import annotations

from runtime.gateway.openapi.json_schema import Schema, array, obj
from runtime.gateway.openapi.parts import JOB_ID, op, reply

_TIME = {"type": "string", "format": "date-time"}


def components() -> dict[str, Schema]:
    return {
        "Output": obj(
            {
                "attempt": {"type": "integer", "description": "whose output it is; 0 where there is none"},
                "dropped": {"type": "integer", "description": "how many chunks before these are no longer kept"},
                "output": {"type": "array", "items": {}, "description": "the chunks"},
            },
            closed=True,
        ),
        "LogLine": obj(
            {
                "attempt": {"type": "integer"},
                "at": _TIME,
                "level": {"type": "string"},
                "event": {"type": "string"},
                "fields": {},
            },
            optional=("at", "level", "fields"),
        ),
        "Log": obj({"lines": array({"$ref": "#/components/schemas/LogLine"})}, closed=True),
    }


def operations() -> dict[str, dict[str, Schema]]:
    output = reply("what the newest attempt has emitted so far", "Output")
    output["content"]["text/plain"] = {
        "schema": {"type": "string", "description": "raw and as it comes, until the attempt ends"}
    }
    return {
        "/jobs/{id}/output": {
            "get": op("show_output", "Jobs", "What a job has emitted", {"200": output}, 404, 422)
            | {"parameters": [JOB_ID]}
        },
        "/jobs/{id}/log": {
            "get": op(
                "show_log",
                "Jobs",
                "The last lines that a job has logged",
                {"200": reply("up to 200", "Log")},
                404,
                422,
            )
            | {"parameters": [JOB_ID]}
        },
    }
