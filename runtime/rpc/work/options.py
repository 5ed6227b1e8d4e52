"""The options of a remote worker's function, as JSON has them: those of `@function`, with their types and bounds.

A function of a folder is the team's own code; these come over a network, and must not break what others call.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from runtime.handlers.policy import NAME
from runtime.jobs.request import MAX_ATTEMPTS
from runtime.jobs.retry import Retry

_LONGEST = 10 * 365 * 86_400  # seconds
_FEW = 20

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Length = Annotated[float, Field(ge=0, le=_LONGEST)] | Text  # of time
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Texts = Text | Annotated[list[Text], Field(max_length=_FEW)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Retry(_Strict):
    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = 3
    base: Annotated[float, Field(ge=0, le=_LONGEST)] = 1.0
    cap: Annotated[float, Field(ge=0, le=_LONGEST)] = 60.0
    retry_on: Texts = Field(default_factory=list)
    no_retry_on: Texts = Field(default_factory=list)


class _Options(_Strict):
    lane: Text | None = None
    timeout: Length = 300.0
    retry: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | _Retry | None = None
    aliases: Annotated[list[Name], Field(max_length=_FEW)] = Field(default_factory=list)
    schedule: Texts | Annotated[dict[str, JsonValue], Field(max_length=_FEW)] = Field(default_factory=list)
    timezone: Text = "UTC"
    concurrency: Count | None = None
    concurrency_key: Text | None = None
    rate: Text | None = None
    max_waiting: Count | None = None
    ttl: Length | None = None
    keep: Length | None = None
    unique: Text | None = None
    on_success: Name | None = None
    on_failure: Name | None = None
    on: Texts = Field(default_factory=list)
    where: Annotated[dict[str, Texts], Field(max_length=_FEW)] = Field(default_factory=dict)


def options(given: dict[str, Any]) -> dict[str, Any]:
    """As keyword arguments of `@function`. Raises ValueError that names what is wrong."""
    try:
        read = _Options.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'][:2]))}: {first['msg']}") from None
    found = {name: getattr(read, name) for name in read.model_fields_set}
    if isinstance(read.retry, _Retry):
        found["retry"] = Retry(**read.retry.model_dump())
    return found
