"""How much a JSON Schema unfolds to: validating takes as long, and the gateway does it for everybody."""

from __future__ import annotations

from collections import Counter
from typing import Any

_DEFS = "#/$defs/"
_DEEP = 8  # times that a definition is unfolded within itself: a payload that is nested deeper is not checked


def has_more_parts(schema: dict[str, Any], most: int) -> bool:
    """Whether it has more than so many parts, with what it refers to in place of each reference."""
    definitions = schema.get("$defs")
    unfolding = _Unfolding(definitions if isinstance(definitions, dict) else {}, most)
    try:
        unfolding.count({name: part for name, part in schema.items() if name != "$defs"})
    except _TooManyError:
        return True
    return False


class _TooManyError(Exception):
    pass


class _Unfolding:
    def __init__(self, definitions: dict[str, Any], most: int) -> None:
        self._definitions = definitions
        self._within: Counter[str] = Counter()
        self._left = most

    def count(self, part: Any) -> None:
        """Raises _TooManyError."""
        if isinstance(part, list):
            for inner in part:
                self.count(inner)
            return
        if not isinstance(part, dict):
            return
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        for inner in part.values():
            self.count(inner)
        if isinstance(reference := part.get("$ref"), str):
            self._follow(reference)

    def _follow(self, reference: str) -> None:
        if self._within[reference] >= _DEEP:
            return
        self._within[reference] += 1
        self.count(self._definitions.get(reference.removeprefix(_DEFS)))
        self._within[reference] -= 1
