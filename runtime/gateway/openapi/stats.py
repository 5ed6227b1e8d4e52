"""What the API says of figures."""

from __future__ import annotations

from runtime.gateway.openapi.json_schema import UUID, Schema, array, nullable, obj, ref
from runtime.gateway.openapi.parts import JOB_ID, op, reply

_COUNT = {"type": "integer"}
_RATES = ("stored", "completed", "failed")
_SPANS = ("1m", "5m", "60m")


def components() -> dict[str, Schema]:
    rate = obj({span: {"type": "number"} for span in _SPANS}, closed=True)
    figures: dict[str, Schema] = {
        "waiting": _COUNT,
        "running": _COUNT,
        "scheduled": _COUNT,
        "oldest_seconds": nullable({"type": "number", "description": "for which the first that waits has waited"}),
        "per_minute": obj(dict.fromkeys(_RATES, rate), closed=True),
    }
    lanes: Schema = {"type": "object", "additionalProperties": obj(figures, closed=True)}
    return {
        "FunctionStats": obj(
            {"function": {"type": "string"}, **figures, "dead": _COUNT, "lanes": lanes}, closed=True
        ),
        "Stats": obj(
            {"functions": array(ref("FunctionStats")), "scheduled_partial": {"type": "boolean"}},
            closed=True,
            description="`scheduled_partial`: only the first 10,000 scheduled jobs were counted by function.",
        ),
        "Position": obj(
            {
                "id": UUID,
                "ahead": nullable({"type": "integer", "description": "null for a job that does not wait in line"}),
                "exact": {"type": "boolean", "description": "false where there are more, or it is an estimate"},
            },
            closed=True,
        ),
    }


def operations() -> dict[str, dict[str, Schema]]:
    place = op(
        "show_position", "Jobs", "How many jobs are before it", {"200": reply("in its lane", "Position")}, 404, 422
    )
    stats = op("show_stats", "Functions", "All functions in figures", {"200": reply("figures", "Stats")}, 422)
    return {"/stats": {"get": stats}, "/jobs/{id}/position": {"get": place | {"parameters": [JOB_ID]}}}
