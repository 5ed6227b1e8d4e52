"""What the API says of the past."""

from __future__ import annotations

from runtime.gateway.openapi.json_schema import MOMENT, Schema, array, nullable, obj, ref
from runtime.gateway.openapi.parts import op, query, reply
from runtime.history.bucket import PERCENTS, SPANS

_BY: Schema = {"type": "string", "enum": list(SPANS)}
_COUNT: Schema = {"type": "integer"}


def components() -> dict[str, Schema]:
    percentiles = obj({f"p{percent}": nullable(_COUNT) for percent in PERCENTS}, closed=True)
    return {
        "PastBucket": obj(
            {
                "function": {"type": "string"},
                "since": {"type": "string", "format": "date-time"},
                "completed": _COUNT,
                "failed": _COUNT,
                "cancelled": _COUNT,
                "failure_rate": nullable({"type": "number", "description": "failed, of those not cancelled"}),
                "wait_ms": percentiles,
                "run_ms": percentiles,
            },
            closed=True,
        ),
        "Past": obj({"by": _BY, "buckets": array(ref("PastBucket"))}, closed=True),
    }


def operations() -> dict[str, dict[str, Schema]]:
    shown = {"200": reply("by time and function", "Past")}
    past = op("show_past", "Functions", "Throughput, failures, waits and run times of the past", shown, 409, 422)
    parameters = [
        query("by", _BY, text="hour where nothing is said"),
        query("function", {"type": "string"}),
        query(
            "after",
            MOMENT,
            text="settled then, or later; else a day, or thirty days, before the end; 1000 hours or days at most",
        ),
        query("before", MOMENT, text="settled earlier; else now"),
    ]
    return {"/stats/history": {"get": past | {"parameters": parameters}}}
