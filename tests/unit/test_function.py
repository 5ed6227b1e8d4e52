from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Annotated, Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from runtime import Context, Retry, function
from runtime.errors import FunctionInvalid, PayloadInvalid
from runtime.handlers.spec import Function, Spec
from runtime.values import codec


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


class Size(BaseModel):
    width: int = Field(ge=1, description="pixels")
    height: int = 10


class Paint(Enum):
    RED = "red"
    BLUE = "blue"


def draw(
    size: Size,
    colour: Paint,
    mode: Literal["fast", "good"] = "fast",
    day: date | None = None,
    tags: list[str] = [],  # noqa: B006
    scale: int | float = 1,
) -> dict[str, Size]:
    """Draws.

    Args:
        colour: of the lines
            and of the ground
        tags (list): words to find it by
    """
    return {"drawn": size}


def test_the_schema_tells_of_models_enums_literals_dates_unions_and_defaults():
    schema = Function("draw", draw).schema
    fields = schema["properties"]

    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["size", "colour"]
    assert schema["$defs"]["Size"]["properties"]["width"]["description"] == "pixels"
    assert schema["$defs"]["Paint"]["enum"] == ["red", "blue"]
    assert (fields["mode"]["enum"], fields["mode"]["default"]) == (["fast", "good"], "fast")
    assert {"format": "date", "type": "string"} in fields["day"]["anyOf"]
    assert {"type": "number"} in fields["scale"]["anyOf"]


@pytest.mark.parametrize(
    "doc",
    [
        None,
        "Draws.\n\n:param colour: of the lines and of the ground\n:param list tags: words to find it by",
        "Draws.\n\nParameters\n----------\ncolour\n    of the lines and of the ground\n"
        "tags : list\n    words to find it by\n\nReturns\n-------\ndict",
    ],
    ids=["google", "sphinx", "numpy"],
)
def test_descriptions_come_from_the_docstring(doc):
    def handler(colour: str, tags: list[str]): ...

    handler.__doc__ = doc or draw.__doc__
    fields = Function("draw", handler).schema["properties"]

    assert fields["colour"]["description"] == "of the lines and of the ground"
    assert fields["tags"]["description"] == "words to find it by"


def test_the_result_has_a_schema_too():
    returns = Function("draw", draw).returns

    assert returns["additionalProperties"] == {"$ref": "#/$defs/Size"}
    assert returns["$defs"]["Size"]["properties"]["height"]["default"] == 10


def test_a_result_without_a_schema_is_no_obstacle():
    def handler() -> Callable[[], None]:
        raise NotImplementedError

    assert Function("f", handler).returns == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"memory": "32M"}, "64M or more"),
        ({"memory": "lots"}, "not a size"),
        ({"memory": "256M", "isolation": "thread"}, "isolation=.process."),
        ({"isolation": "moon"}, "loop, thread, process"),
        ({"recycle": 0}, "from 1 on"),
    ],
)
def test_isolation_that_cannot_be_is_refused(given, told):
    with pytest.raises(FunctionInvalid, match=told):
        function(**given)


@pytest.mark.parametrize(
    ("is_async", "isolation", "runs_in"),
    [
        (True, None, "loop"),
        (False, None, "process"),
        (True, "process", "process"),
        (False, "thread", "thread"),
        (True, "thread", None),
        (False, "loop", None),
    ],
)
def test_where_a_function_from_a_file_runs(is_async, isolation, runs_in):
    @function(isolation=isolation)
    async def coroutine(): ...

    @function(isolation=isolation)
    def plain(): ...

    handler = coroutine if is_async else plain
    if runs_in is None:
        with pytest.raises(FunctionInvalid, match="is for"):
            Function("f", handler, version="1f3c")
    else:
        assert Function("f", handler, version="1f3c").isolation == runs_in


def test_what_is_known_of_a_function_survives_its_way_from_another_process():
    @function(
        retry=Retry(5, base=2, no_retry_on=KeyError),
        schedule={"*/5 * * * *": {"n": 1}},
        memory="256M",
        isolation="process",
        aliases=("g",),
    )
    def handler(n: int) -> int:
        return n

    spec = Function("f", handler, version="1f3c")
    there = Spec.of(codec.unpack(codec.pack(spec.packed())), None)

    assert there.packed() == spec.packed()
    assert there.policy == spec.policy
