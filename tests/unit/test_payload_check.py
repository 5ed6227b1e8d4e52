"""What a payload that does not fit is told."""

import time
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from runtime.client.payload_check import Contract
from runtime.errors import PayloadInvalid
from runtime.handlers.spec import Function
from runtime.settings import Settings
from runtime.store.registry import Deployed, describe
from runtime.values import codec


class Negated(BaseModel):
    term: "Term"


class Doubled(BaseModel):
    term: "Term"


Term = int | Negated | Doubled
Negated.model_rebuild()
Doubled.model_rebuild()


class Cat(BaseModel):
    kind: Literal["cat"]
    meows: int


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: int


def contract(handler: Any) -> Contract:
    return Contract(describe("f", Function("f", handler), Settings()))


def told(of: Contract, payload: Any) -> list[Any]:
    with pytest.raises(PayloadInvalid) as wrong:
        of.check(payload)
    return list(wrong.value.errors)


def nested(levels: int, inmost: Any) -> Any:
    for _ in range(levels):
        inmost = {"term": inmost}
    return {"term": inmost}


async def evaluate(term: Term) -> None: ...


@pytest.mark.parametrize("levels", [0, 2, 5, 14, 200])
def test_a_union_that_contains_itself_is_checked_in_no_time(levels):
    of = contract(evaluate)
    payload = codec.from_json(codec.to_json(nested(levels, "wrong")))
    begun = time.process_time()

    try:
        of.check(payload)  # what is nested more deeply, the worker checks alone
    except PayloadInvalid:
        assert levels < 8
    else:
        assert levels > 8

    assert time.process_time() - begun < 0.5
    of.check(nested(min(levels, 100), 1))


@pytest.mark.parametrize(("levels", "why"), [(5, "is not of type"), (18, "does not fit the schema")])
def test_a_schema_that_doubles_at_each_level_is_checked_in_no_time(levels, why):
    definitions: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    schema = {"$defs": {**definitions, f"d{levels}": {"type": "integer"}}, "$ref": "#/$defs/d0"}
    begun = time.process_time()

    of = Contract(Deployed("f", "normal", 1, 1, "", schema, "f"))

    assert why in told(of, "x")[0]["message"]
    assert time.process_time() - begun < 0.5
    of.check(1)


def test_a_union_with_tags_says_what_its_tag_lacks():
    async def feed(pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...

    of = contract(feed)

    assert told(of, {"pet": {"kind": "cat", "meows": "x"}}) == [
        {"field": "/pet", "message": '/meows "x" is not of type "integer"'}
    ]
    (unknown,) = told(of, {"pet": {"kind": "cow"}})
    assert "cat" in unknown["message"]
    assert "dog" in unknown["message"]
