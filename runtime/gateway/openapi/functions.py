"""A function's part of the document: schemas of its payload, its result and its jobs, and an example."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs

from runtime.gateway.openapi.json_schema import Schema, obj, ref
from runtime.store.registry import Deployed

_DEFS = "#/$defs/"
_DATA = ("default", "examples", "example", "const", "enum")  # keywords whose value is no schema
_MAPS = ("properties", "patternProperties", "dependentSchemas")  # of schemas by name
_SAMPLE_NODES = 300  # values in an example at most
_SAMPLE_LENGTH = 1000  # characters of a text in it
_SAMPLES: dict[str, Any] = {
    "date-time": "2030-01-31T09:00:00Z",
    "date": "2030-01-31",
    "time": "09:00:00",
    "duration": "PT10M",
    "uuid": "01923f5e-0000-7000-8000-000000000000",
    "email": "ada@example.com",
    "uri": "https://example.com",
    "ipv4": "192.0.2.1",
    "binary": "AAAA",
}


def components(function: Deployed) -> dict[str, Schema]:
    """The schemas `NAME.payload`, `NAME.result` and `NAME.job`, and those that they stand on."""
    found: dict[str, Schema] = {}
    for kind, schema in (("payload", function.schema), ("result", function.returns)):
        prefix = f"{function.name}.{kind}"
        for name, inner in schema.get("$defs", {}).items():
            found[f"{prefix}.{_sane(name)}"] = _hoisted(inner, prefix)
        own = {key: value for key, value in schema.items() if key not in ("$defs", "$schema")}
        found[prefix] = _hoisted(own, prefix)
    payload, result = ref(f"{function.name}.payload"), ref(f"{function.name}.result")
    found[f"{function.name}.job"] = {
        "allOf": [ref("Job"), obj({"payload": payload, "result": {"anyOf": [result, {"type": "null"}]}})]
    }
    return found


def example(function: Deployed) -> Any:
    """A payload that fits, or None where none was found."""
    try:
        sample = _Sampler(function.schema).sample(function.schema, 6)
        return sample if jsonschema_rs.is_valid(function.schema, sample) else None
    except (ValueError, KeyError, TypeError):
        return None


def _sane(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _hoisted(schema: Any, prefix: str) -> Any:
    """The schema with its references to `$defs` pointing at the document's components."""
    if isinstance(schema, list):
        return [_hoisted(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _hoisted_value(key, value, prefix) for key, value in schema.items()}


def _hoisted_value(key: str, value: Any, prefix: str) -> Any:
    if key in _DATA:
        return value
    if key in _MAPS and isinstance(value, dict):
        return {name: _hoisted(inner, prefix) for name, inner in value.items()}
    if key == "$ref" and isinstance(value, str):
        return _moved(value, prefix)
    if key == "mapping" and isinstance(value, dict):  # of a discriminator
        return {
            name: _moved(target, prefix) if isinstance(target, str) else target for name, target in value.items()
        }
    return _hoisted(value, prefix)


def _moved(target: str, prefix: str) -> str:
    if not target.startswith(_DEFS):
        return target
    return f"#/components/schemas/{prefix}.{_sane(target.removeprefix(_DEFS))}"


class _Sampler:
    """Makes a value that a schema says is usual: an example, a default, a choice, else one by type."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._defs = schema.get("$defs", {})
        self._left = _SAMPLE_NODES

    def sample(self, schema: Any, depth: int) -> Any:
        """Raises ValueError for what would be a large one: a schema that contains itself may double per level."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("too large for an example")
        if not isinstance(schema, dict) or depth == 0:
            return None
        if target := schema.get("$ref"):
            return self.sample(self._defs[target.removeprefix(_DEFS)], depth)
        for keyword in ("examples", "enum"):
            if schema.get(keyword):
                return schema[keyword][0]
        for keyword in ("default", "const"):
            if keyword in schema:
                return schema[keyword]
        for keyword in ("anyOf", "oneOf", "allOf"):
            if schema.get(keyword):
                return self.sample(schema[keyword][0], depth - 1)
        return self._by_type(schema, depth)

    def _by_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if kind == "object":
            wanted = schema.get("properties", {})
            names = schema.get("required", list(wanted))
            return {name: self.sample(wanted.get(name), depth - 1) for name in names}
        if kind == "array":
            return [self.sample(schema.get("items"), depth - 1) for _ in range(max(1, schema.get("minItems", 1)))]
        if kind == "string":
            text = "text".ljust(min(_SAMPLE_LENGTH, schema.get("minLength", 0)), "x")
            return _SAMPLES.get(schema.get("format", ""), text)
        if kind in ("integer", "number"):
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return min(least, schema.get("maximum", least))
        return {"boolean": True, "null": None}.get(str(kind))
