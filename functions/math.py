"""Add two whole numbers, given as numbers or as text."""

from typing import Annotated

from pydantic import WithJsonSchema

Whole = Annotated[
    int, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^\s*[+-]?\d+\s*$"}]})
]


async def handle(a: Whole, b: Whole) -> int:
    return a + b
