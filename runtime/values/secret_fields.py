"""Which fields of a payload are secret, by its JSON Schema, and the payload as it may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MASK = "***"
_DEFS = "#/$defs/"
_DEPTH = 20  # levels of objects in objects that are looked into; what lies deeper is masked with its object

Path = Sequence[str]  # the names that lead to a field; none: the payload itself


def paths(schema: dict[str, Any]) -> list[Path]:
    """The secret fields: `writeOnly`, as pydantic's SecretStr and SecretBytes are.

    One that lies in a list, a union or a mapping is masked with all of that.
    """
    return list(_paths(schema, schema.get("$defs", {}), (), _DEPTH))


def _paths(schema: Any, defs: dict[str, Any], here: tuple[str, ...], depth: int) -> list[Path]:
    schema = _resolved(schema, defs)
    if not _has_secret(schema, defs, set()):
        return []
    properties = schema.get("properties")
    if schema.get("writeOnly") or not isinstance(properties, dict) or depth == 0:
        return [here]
    others = {name: part for name, part in schema.items() if name not in ("properties", "$defs")}
    if _has_secret(others, defs, set()):
        return [here]
    return [path for name, part in properties.items() for path in _paths(part, defs, (*here, name), depth - 1)]


def _resolved(schema: Any, defs: dict[str, Any]) -> Any:
    seen = 0
    while isinstance(schema, dict) and isinstance(ref := schema.get("$ref"), str) and seen < _DEPTH:
        schema = defs.get(ref.removeprefix(_DEFS), {})
        seen += 1
    return schema


def _has_secret(schema: Any, defs: dict[str, Any], seen: set[str]) -> bool:
    if isinstance(schema, list):
        return any(_has_secret(part, defs, seen) for part in schema)
    if not isinstance(schema, dict):
        return False
    if schema.get("writeOnly") is True:
        return True
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref not in seen:
        seen.add(ref)
        if _has_secret(defs.get(ref.removeprefix(_DEFS)), defs, seen):
            return True
    return any(_has_secret(part, defs, seen) for name, part in schema.items() if name != "$defs")


def masked(payload: Any, secret: Sequence[Path]) -> Any:
    """The payload with a mask in place of its secret fields; not the same objects where there are any."""
    for path in secret:
        payload = _masked(payload, path)
    return payload


def _masked(value: Any, path: Path) -> Any:
    if not path:
        return value if value is None else MASK
    name, *rest = path
    if not isinstance(value, dict):
        return MASK if value is not None else value  # not what its schema says: it may be anything
    return {**value, name: _masked(value[name], rest)} if name in value else value
