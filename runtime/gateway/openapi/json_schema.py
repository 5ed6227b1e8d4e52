"""The words that schemas of the API are written in."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

UUID: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {"type": "string", "format": "date-time"}
# from 1970 to 9000
MOMENT = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][1-9]|[2-7][0-9]{3}|8[0-8][0-9]{2})-"}
_NOTHING = {"type": "null"}


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
