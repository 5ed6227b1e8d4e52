"""Which fields of a payload are secret, by its JSON Schema, and the payload as it may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

MASK = "***"
_DEFS = "#/$defs/"
_MOST = 100  # rules of a schema; one that needs more is secret as a whole

# Where an object is in the payload, and which of its fields may be shown: no others, since a model may know a field
# by further names than its schema has. None: nothing there may be shown.
Rule = tuple[Sequence[str], Sequence[str] | None]


def rules(schema: dict[str, Any]) -> list[Rule]:
    """What hides the secret fields: `writeOnly`, as pydantic's SecretStr and SecretBytes are.

    One that lies in a list, a union, a mapping or a schema that contains itself is hidden with all of that.
    """
    try:
        return list(_rules(schema, schema.get("$defs", {}), (), frozenset(), [_MOST]))
    except _TooManyError:
        return [((), None)]


class _TooManyError(Exception):
    pass


def _rules(
    schema: Any, defs: dict[str, Any], here: tuple[str, ...], above: frozenset[str], left: list[int]
) -> Iterator[Rule]:
    schema, above = _resolved(schema, defs, above)
    if schema is None or _has_secret(schema, defs, set()):
        left[0] -= 1
        if left[0] < 0:
            raise _TooManyError
        if schema is None or not _is_object(schema, defs):
            yield here, None
            return
        properties = schema["properties"]
        below = {name: list(_rules(part, defs, (*here, name), above, left)) for name, part in properties.items()}
        yield here, [name for name, own in below.items() if ((*here, name), None) not in own]
        for own in below.values():
            yield from (rule for rule in own if rule[1] is not None)


def _is_object(schema: dict[str, Any], defs: dict[str, Any]) -> bool:
    """Whether its secrets are among its properties, which can be told apart."""
    others = {name: part for name, part in schema.items() if name not in ("properties", "$defs")}
    return isinstance(schema.get("properties"), dict) and not _has_secret(others, defs, set())


def _resolved(schema: Any, defs: dict[str, Any], above: frozenset[str]) -> tuple[Any, frozenset[str]]:
    """The schema that is referred to; None for one that contains itself here."""
    while isinstance(schema, dict) and isinstance(ref := schema.get("$ref"), str):
        if ref in above:
            return (None if _has_secret(schema, defs, set()) else {}), above
        above |= {ref}
        schema = defs.get(ref.removeprefix(_DEFS), {})
    return schema, above


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


def masked(payload: Any, hidden: Sequence[Rule]) -> Any:
    """The payload with a mask in place of what may not be shown; not the same objects where there is any."""
    for path, shown in hidden:
        payload = _masked(payload, path, shown)
    return payload


def _masked(value: Any, path: Sequence[str], shown: Sequence[str] | None) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict) or (not path and shown is None):
        return MASK  # not what its schema says: it may be anything
    if path:
        name, *rest = path
        return {**value, name: _masked(value[name], rest, shown)} if name in value else value
    return {name: inner if name in shown or inner is None else MASK for name, inner in value.items()}  # type: ignore[operator]


def is_near(at: Sequence[str], hidden: Sequence[Rule]) -> bool:
    """Whether a place in the payload is in, or around, what may not be shown."""
    for path, shown in hidden:
        inside = tuple(at[: len(path)]) == tuple(path)
        if tuple(path[: len(at)]) == tuple(at):
            return True
        if inside and (shown is None or at[len(path)] not in shown):
            return True
    return False
