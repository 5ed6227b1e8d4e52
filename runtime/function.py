"""What a function is: a handler, its policy, and the contract that its annotations make."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypeVar

from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from runtime import durations
from runtime.context import Context
from runtime.cron import Schedule
from runtime.errors import ERRORS_SHOWN, FieldError, FunctionInvalid, PayloadInvalid
from runtime.retry import Retry

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
MARK = "__lanework__"

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Policy:
    """How a function's jobs are run, where the job itself does not say otherwise. Times in seconds.

    `lane`: None for the default lane. `timeout`: for one attempt. `aliases`: further job types that
    this function serves. `schedules`: when it runs by itself, without a payload. `concurrency`: how
    many attempts may run at once in the whole fleet, for each value of the payload's key
    `concurrency_key` where that is given. `rate`: how many may start in a time, such as "100/m".
    `max_waiting`: how many jobs may wait before more are refused. `ttl`: until when a job must have
    started. `keep`: for how long a settled job is kept; 0 means the second that waiters need to see
    it. `unique`: "payload", or a key: while a job with an equal payload or the same key lives, a
    second one is not stored.
    """

    lane: str | None = None
    timeout: float = 300.0
    retry: Retry = field(default_factory=Retry)
    aliases: tuple[str, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    concurrency: int | None = None
    concurrency_key: str | None = None
    rate: str | None = None
    max_waiting: int | None = None
    ttl: float | None = None
    keep: float | None = None
    unique: str | None = None

    def __post_init__(self) -> None:
        """Raises FunctionInvalid."""
        if self.timeout <= 0:
            raise FunctionInvalid("timeout is a number of seconds above 0")
        for name in ("concurrency", "max_waiting"):
            most = getattr(self, name)
            if most is not None and (type(most) is not int or most < 1):
                raise FunctionInvalid(f"{name} is a number from 1 on")
        if self.concurrency_key is not None and self.concurrency is None:
            raise FunctionInvalid("concurrency_key needs concurrency: how many of each key may run at once")
        if self.unique == "":
            raise FunctionInvalid('unique is "payload" or a key')


def function(
    *,
    lane: str | None = None,
    timeout: float | str = 300.0,
    retry: Retry | int | None = None,
    aliases: tuple[str, ...] = (),
    schedule: str | Sequence[str] = (),
    timezone: str = "UTC",
    concurrency: int | None = None,
    concurrency_key: str | None = None,
    rate: str | None = None,
    max_waiting: int | None = None,
    ttl: float | str | None = None,
    keep: float | str | None = None,
    unique: str | None = None,
) -> Callable[[Handler], Handler]:
    """Marks a module's handler and sets its policy (see `Policy`).

    Lengths of time are seconds or text such as "10m"; `retry` as a number means that many attempts;
    `schedule` is one cron expression or several. Raises FunctionInvalid.
    """
    try:
        if rate is not None:
            durations.rate(rate)
        crons = (schedule,) if isinstance(schedule, str) else tuple(schedule)
        policy = Policy(
            lane,
            durations.seconds(timeout),
            _retry(retry),
            tuple(aliases),
            tuple(Schedule(cron, timezone) for cron in crons),
            concurrency,
            concurrency_key,
            rate,
            max_waiting,
            None if ttl is None else durations.seconds(ttl),
            None if keep is None else durations.seconds(keep),
            unique,
        )
    except ValueError as error:
        raise FunctionInvalid(str(error)) from None

    def mark(handler: Handler) -> Handler:
        setattr(handler, MARK, policy)
        return handler

    return mark


def _retry(given: Retry | int | None) -> Retry:
    if given is None:
        return Retry()
    return given if isinstance(given, Retry) else Retry(max_attempts=given)


class Function:
    """A handler that can be called with a payload.

    The payload's keys become keyword arguments, validated and coerced from the annotations. A
    parameter annotated `Context` gets the context; a single parameter named `payload` takes the
    whole payload as it came.
    """

    __slots__ = (
        "_adapter",
        "_validate",
        "_whole",
        "context",
        "doc",
        "handler",
        "is_async",
        "name",
        "policy",
        "schema",
    )

    def __init__(self, name: str, handler: Callable[..., Any], doc: str = "") -> None:
        if not NAME.fullmatch(name):
            raise FunctionInvalid(f"a function's name is a-z, 0-9 and _ and starts with a letter, not {name!r}")
        self.name = name
        self.handler = handler
        self.policy: Policy = getattr(handler, MARK, None) or Policy()
        self.is_async = inspect.iscoroutinefunction(handler)
        self.doc = inspect.cleandoc(doc or handler.__doc__ or "").strip()
        self.context: str | None = None  # the parameter that takes the context
        self._whole = False
        self._adapter = self._contract()
        self._validate = self._adapter.validator.validate_python
        self.schema = self._schema()

    def bind(self, payload: Any) -> dict[str, Any]:
        """The handler's keyword arguments, without the context. Raises PayloadInvalid."""
        try:
            value = self._validate({} if payload is None and not self._whole else payload)
        except ValidationError as error:
            raise PayloadInvalid(
                self.name, [_field_error(e) for e in error.errors(include_url=False)[:ERRORS_SHOWN]]
            ) from None
        return {"payload": value} if self._whole else value

    def _schema(self) -> dict[str, Any]:
        """The payload's JSON Schema (2020-12)."""
        try:
            schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise FunctionInvalid(f"{self.name}: an annotation has no JSON Schema: {error}") from error
        schema.pop("title", None)
        if not self._whole:
            for parameter in inspect.signature(self.handler).parameters.values():
                shown = schema.get("properties", {}).get(parameter.name)
                if shown is not None and parameter.default is not parameter.empty:
                    shown["default"] = to_jsonable_python(parameter.default, fallback=str)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

    def _contract(self) -> TypeAdapter[Any]:
        try:
            hints = typing.get_type_hints(self.handler, include_extras=True)
        except Exception as error:
            raise FunctionInvalid(f"{self.name}: an annotation cannot be read: {error}") from error
        fields: dict[str, Any] = {}
        extra = False
        for parameter in inspect.signature(self.handler).parameters.values():
            annotation = hints.get(parameter.name, Any)
            if annotation is Context:
                self.context = parameter.name
            elif parameter.kind is parameter.VAR_KEYWORD:
                extra = True
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise FunctionInvalid(f"{self.name}: {parameter} cannot be passed by keyword")
            else:
                required = parameter.default is parameter.empty
                fields[parameter.name] = annotation if required else NotRequired[annotation]
        self._whole = list(fields) == ["payload"] and not extra
        try:
            if self._whole:
                return TypeAdapter(hints.get("payload", Any))
            shape = TypedDict(self.name, fields)  # type: ignore[misc]
            setattr(shape, "__pydantic_config__", ConfigDict(extra="allow" if extra else "forbid"))  # noqa: B010
            return TypeAdapter(shape)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise FunctionInvalid(f"{self.name}: an annotation cannot be validated: {error}") from error


def _field_error(error: Any) -> FieldError:
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"])
    return {"field": pointer, "message": error["msg"]}
