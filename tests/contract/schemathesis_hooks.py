"""What OpenAPI cannot say about the API, for Schemathesis: two parameters that exclude each other, keys that
stand for one request each, that integers have at most 64 bits, and that a path with a parameter gives way to one
without."""

import uuid
from typing import Any

import schemathesis


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(context: Any, case: Any) -> bool:
    query = case.query or {}
    own_path = case.operation.path.format_map(case.path_parameters or {})
    known = case.operation.schema.raw_schema["paths"]
    is_another = own_path != case.operation.path and case.method.lower() in known.get(own_path, {})
    excluded = ("run_at" in query and "delay" in query) or ("tag" in query and "parent" in query)
    return not is_another and not excluded and _fits(case.body)


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.headers and case.headers.get("Idempotency-Key") and case.meta and case.meta.generation.mode.is_positive:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_fits(item) for item in value.values())
    if isinstance(value, list):
        return all(_fits(item) for item in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64
