"""What a function is: a handler, its policy, and the contract that its annotations make."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NotRequired

import docstring_parser
from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from runtime.errors import ERRORS_SHOWN, FieldError, FunctionInvalid, PayloadInvalid
from runtime.handlers.context import Context
from runtime.handlers.hooks import UNSIGNED, Hook
from runtime.handlers.policy import MARK, NAME, Isolation, Policy
from runtime.jobs.event import Event
from runtime.values import codec
from runtime.values.pointers import pointer

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Spec:
    """What is known of a function without its code: enough to publish it, and to run it in another process.

    `schema`: of the payload, `returns`: of the result, both JSON Schema 2020-12. `isolation`: where its
    attempts run. `version`: a hash of its files, "" for a handler that came from no file. `source`: those
    files, for whoever loads it elsewhere. `hook`: how providers sign what they send it, if it takes a Hook.
    """

    __slots__ = ("doc", "hook", "is_async", "isolation", "name", "policy", "returns", "schema", "source", "version")
    name: str
    doc: str
    schema: dict[str, Any]
    returns: dict[str, Any]
    policy: Policy
    hook: tuple[str, str] | None
    is_async: bool
    isolation: Isolation
    version: str
    source: Any

    def packed(self) -> dict[str, Any]:
        """Without its source."""
        fields = {name: getattr(self, name) for name in Spec.__slots__ if name != "source"}
        return {**fields, "policy": asdict(self.policy)}

    @classmethod
    def of(cls, packed: Mapping[str, Any], source: Any) -> Spec:
        """From what `packed` made of one."""
        spec = Spec()
        for name, value in packed.items():
            setattr(spec, name, value)
        spec.source = source
        spec.policy = Policy.of(packed["policy"])
        return spec


class Function(Spec):
    """A handler that can be called with a payload here.

    The payload's keys become keyword arguments, validated and coerced from the annotations. A
    parameter annotated `Context` gets the context, one annotated `Event` the event that brought the job. If the
    only other parameter is named `payload` or annotated `Hook`, it takes the whole payload, validated by its
    annotation.
    """

    __slots__ = ("_adapter", "_validate", "_whole", "context", "event", "handler")

    def __init__(self, name: str, handler: Callable[..., Any], doc: str = "", version: str = "") -> None:
        """Raises FunctionInvalid."""
        if not NAME.fullmatch(name):
            raise FunctionInvalid(f"a function's name is a-z, 0-9 and _ and starts with a letter, not {name!r}")
        self.name = name
        self.version, self.source = version, None
        self.handler = handler
        self.policy = getattr(handler, MARK, None) or Policy()
        self.is_async = inspect.iscoroutinefunction(handler)
        self.isolation = self._isolation()
        self.doc = inspect.cleandoc(doc or handler.__doc__ or "").strip()
        self.context: str | None = None  # the parameter that takes the context
        self.event: str | None = None  # the parameter that takes the event
        self._whole = ""  # the parameter that takes the whole payload
        self.hook = None
        hints = self._hints()
        self._adapter = self._contract(hints)
        self._validate = self._adapter.validator.validate_python
        self.schema = self._schema()
        self.returns = self._returns(hints)
        self._check_aliases_and_schedules()

    def _check_aliases_and_schedules(self) -> None:
        for alias in self.policy.aliases:
            if not isinstance(alias, str) or not NAME.fullmatch(alias) or alias == self.name:
                message = f"an alias is another name of a-z, 0-9 and _ that starts with a letter, not {alias!r}"
                raise FunctionInvalid(f"{self.name}: {message}")
        for schedule in self.policy.schedules:
            try:
                self.bind(codec.unpack(codec.pack_shown(schedule.payload)))
            except (PayloadInvalid, TypeError, ValueError) as error:
                hint = 'such as schedule={"0 2 * * *": {"kind": "nightly"}}'
                raise FunctionInvalid(
                    f"{self.name}: its schedule {schedule.cron!r} would never run: {error}; give a payload, {hint}"
                ) from None

    def _isolation(self) -> Isolation:
        chosen = self.policy.isolation
        if chosen == ("thread" if self.is_async else "loop"):
            raise FunctionInvalid(
                f'{self.name}: isolation="{chosen}" is for {"def" if self.is_async else "async def"} handlers'
            )
        if self.policy.memory is not None and self.is_async and chosen is None:
            raise FunctionInvalid(f'{self.name}: memory needs isolation="process" on an async def handler')
        if self.version and (chosen == "process" or (chosen is None and not self.is_async)):
            return "process"
        # what came from no file cannot be loaded in another process
        return "loop" if self.is_async else "thread"

    def arguments(self, packed: bytes, context: Callable[[], Context]) -> dict[str, Any]:
        """The handler's arguments for a packed payload; `context` makes the Context if it takes one, or an Event.

        Raises PayloadInvalid.
        """
        arguments = self.bind(codec.unpack(packed))
        if self.context is not None or self.event is not None:
            made = context()
            extra = {self.context: made, self.event: made.event if self.event else None}
            arguments |= {name: value for name, value in extra.items() if name is not None}
        return arguments

    def bind(self, payload: Any) -> dict[str, Any]:
        """The handler's keyword arguments, without the context and the event. Raises PayloadInvalid."""
        try:
            value = self._validate({} if payload is None and not self._whole else payload)
        except ValidationError as error:
            raise PayloadInvalid(
                self.name, [_field_error(e) for e in error.errors(include_url=False)[:ERRORS_SHOWN]]
            ) from None
        return {self._whole: value} if self._whole else value

    def _schema(self) -> dict[str, Any]:
        """The payload's JSON Schema (2020-12)."""
        try:
            schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise FunctionInvalid(f"{self.name}: an annotation has no JSON Schema: {error}") from error
        schema.pop("title", None)
        if not self._whole:
            descriptions = _described(inspect.getdoc(self.handler) or self.doc)
            for name, shown in schema.get("properties", {}).items():
                if name in descriptions:
                    shown.setdefault("description", descriptions[name])
            for parameter in inspect.signature(self.handler).parameters.values():
                shown = schema.get("properties", {}).get(parameter.name)
                if shown is not None and parameter.default is not parameter.empty:
                    shown["default"] = to_jsonable_python(parameter.default, fallback=str)
        return {"$schema": _DIALECT, **schema}

    def _returns(self, hints: dict[str, Any]) -> dict[str, Any]:
        """The result's JSON Schema; an annotation without one says nothing to users, and does no harm."""
        annotation = hints.get("return", Any)
        try:
            schema = TypeAdapter(annotation).json_schema(mode="serialization")
        except PydanticUserError:
            return {}
        schema.pop("title", None)
        return {"$schema": _DIALECT, **schema}

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.handler, include_extras=True)
        except Exception as error:
            raise FunctionInvalid(f"{self.name}: an annotation cannot be read: {error}") from error

    def _contract(self, hints: dict[str, Any]) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        extra = False
        for parameter in inspect.signature(self.handler).parameters.values():
            annotation = hints.get(parameter.name, Any)
            if annotation is Context:
                self.context = self._only(self.context, parameter.name, "Context")
            elif annotation is Event:
                self.event = self._only(self.event, parameter.name, "Event")
            elif parameter.kind is parameter.VAR_KEYWORD:
                extra = True
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise FunctionInvalid(f"{self.name}: {parameter} cannot be passed by keyword")
            else:
                required = parameter.default is parameter.empty
                fields[parameter.name] = annotation if required else NotRequired[annotation]
        if len(fields) == 1 and not extra and ("payload" in fields or Hook in fields.values()):
            (self._whole,) = fields
        self._set_hook(list(fields.values()))
        try:
            if self._whole:
                return TypeAdapter(hints.get(self._whole, Any))
            shape = TypedDict(self.name, fields)  # type: ignore[misc]
            setattr(shape, "__pydantic_config__", ConfigDict(extra="allow" if extra else "forbid"))  # noqa: B010
            return TypeAdapter(shape)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise FunctionInvalid(f"{self.name}: an annotation cannot be validated: {error}") from error

    def _only(self, before: str | None, name: str, kind: str) -> str:
        if before is not None:
            message = f"{before} and {name} are both {kind}: one parameter takes it"
            raise FunctionInvalid(f"{self.name}: {message}")
        return name

    def _set_hook(self, annotations: list[Any]) -> None:
        signature = self.policy.hook
        if annotations == [Hook]:
            self.hook = signature or UNSIGNED
        elif signature is not None or Hook in annotations:
            raise FunctionInvalid(
                f"{self.name}: a function of hooks has one parameter of type Hook, besides a Context"
            )


def _described(doc: str) -> dict[str, str]:
    """Parameters and what the docstring says of them: Google's, Sphinx's, numpydoc's or Epydoc's style."""
    try:
        params = docstring_parser.parse(doc).params
    except docstring_parser.ParseError:
        return {}
    return {param.arg_name: " ".join(param.description.split()) for param in params if param.description}


def _field_error(error: Any) -> FieldError:
    return {"field": pointer(error["loc"]), "message": error["msg"]}
