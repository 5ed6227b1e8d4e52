from enum import Enum
from typing import Annotated, Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from runtime import Context, Retry, function
from runtime.errors import FunctionInvalid, PayloadInvalid
from runtime.function import Function


class Colour(Enum):
    red = "red"


class Point(BaseModel):
    x: int
    y: int = 0


def test_payload_keys_become_typed_keyword_arguments():
    def handle(at: Point, colour: Colour, size: float = 1.0): ...

    arguments = Function("draw", handle).bind({"at": {"x": "3"}, "colour": "red"})

    assert arguments == {"at": Point(x=3), "colour": Colour.red}


def test_a_parameter_named_payload_takes_the_whole_payload_as_it_came():
    def handle(payload): ...

    assert Function("echo", handle).bind([1, {"a": None}]) == {"payload": [1, {"a": None}]}
    assert Function("echo", handle).bind(None) == {"payload": None}


def test_the_context_is_no_part_of_the_payload():
    def handle(ctx: Context, n: int): ...

    fn = Function("f", handle)

    assert fn.context == "ctx"
    assert fn.bind({"n": 1}) == {"n": 1}
    assert list(fn.schema["properties"]) == ["n"]


def test_what_does_not_fit_is_told_for_each_field():
    def handle(a: int, at: Point): ...

    with pytest.raises(PayloadInvalid) as caught:
        Function("f", handle).bind({"a": "x", "at": {"x": 1, "y": "z"}, "more": 1})

    assert {e["field"] for e in caught.value.errors} == {"/a", "/at/y", "/more"}


def test_no_payload_means_no_arguments():
    def handle(n: int = 3): ...

    assert Function("f", handle).bind(None) == {}


def test_extra_keys_are_taken_by_a_handler_that_asks_for_them():
    def handle(a: int, **rest): ...

    assert Function("f", handle).bind({"a": 1, "b": 2}) == {"a": 1, "b": 2}


def test_names_that_pydantic_models_use_are_free_for_parameters():
    def handle(schema: int, copy: int, json: int): ...

    assert Function("f", handle).bind({"schema": 1, "copy": 2, "json": 3}) == {"schema": 1, "copy": 2, "json": 3}


def test_the_schema_is_a_json_schema_with_defaults():
    def handle(mode: Literal["a", "b"], n: Annotated[int, Field(ge=1)] = 5): ...

    schema = Function("f", handle).schema

    jsonschema_rs.meta.validate(schema)
    assert schema["required"] == ["mode"]
    assert schema["properties"]["n"]["default"] == 5


def test_a_decorator_sets_the_policy_and_leaves_the_handler_as_it_was():
    @function(lane="low", timeout=3, retry=Retry(max_attempts=5), aliases=("g",))
    def handle(n: int):
        return n

    assert handle(2) == 2
    assert Function("f", handle).policy.timeout == 3
    assert Function("f", handle).policy.retry.max_attempts == 5


@pytest.mark.parametrize("name", ["", "Upper", "a-b", "1st", "a:b", "x" * 65])
def test_names_that_could_not_be_keys_are_refused(name):
    with pytest.raises(FunctionInvalid, match="name"):
        Function(name, lambda: None)


def test_an_annotation_that_cannot_be_validated_is_refused():
    def handle(file: open): ...

    with pytest.raises(FunctionInvalid, match="annotation"):
        Function("f", handle)


def test_positional_only_parameters_are_refused():
    def handle(a, /): ...

    with pytest.raises(FunctionInvalid, match="keyword"):
        Function("f", handle)
