"""What a function's payload must be, and what a 422 says of one that does not fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from runtime import log
from runtime.client.complexity import has_more_parts
from runtime.errors import ERRORS_SHOWN, FieldError, FunctionBroken, PayloadInvalid
from runtime.jobs.event import Subscription
from runtime.store.registry import Deployed
from runtime.values import secret_fields
from runtime.values.pointers import names, pointer

_TELLS_NOTHING = ("is required", "is not a parameter")
_MAX_DEPTH_CHECKED = 8  # levels of a payload whose contract contains itself
_MAX_DEPTH_EXPLAINED = 4
_EXPLAINED = 20_000  # parts of a schema, of which each may be a reason


class Contract:
    """One deployed function and its validator."""

    __slots__ = (
        "_is_large",
        "_recursive",
        "_validator",
        "deployed",
        "is_followed",
        "plain",
        "secret",
        "subscription",
    )

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self.secret = secret_fields.rules(deployed.schema)
        # whether it says nothing that each job would have to carry
        self.plain = not (
            self.secret
            or deployed.pinned
            or deployed.ttl is not None
            or deployed.keep is not None
            or deployed.concurrency_key
        )
        # an alias is the same subscriber
        self.subscription = (
            Subscription(deployed.on, deployed.where) if deployed.on and deployed.name == deployed.serves else None
        )
        self.is_followed = bool(deployed.on_success or deployed.on_failure)
        self._recursive = _is_recursive(deployed.schema)
        self._is_large = has_more_parts(
            deployed.schema, _EXPLAINED
        )  # telling why something does not fit takes too long
        self._validator: jsonschema_rs.Validator | None = None
        try:
            if deployed.schema:
                self._validator = validator(deployed.schema)
        except ValueError as error:  # one schema must not keep other functions from being served
            log.get("contracts").warning("schema.unusable", function=deployed.name, error=str(error)[:300])

    def check(self, payload: Any) -> None:
        """Raises PayloadInvalid that names each field that does not fit, and FunctionBroken."""
        if self.deployed.broken is not None:
            raise FunctionBroken(self.deployed.name, self.deployed.broken)
        if self._validator is None:
            return  # no schema is known: the worker that can load the module validates
        if payload is None and self.deployed.schema.get("type") == "object":
            payload = {}
        # Where unions contain themselves, each level of nesting multiplies what is tried: for whether it fits, and
        # far more for why not. The worker validates again, and delays no other request.
        if self._recursive and _is_deeper(payload, _MAX_DEPTH_EXPLAINED):
            if not _is_deeper(payload, _MAX_DEPTH_CHECKED) and not self._is_valid(payload):
                raise PayloadInvalid(self.deployed.name, [{"field": "", "message": "does not fit the schema"}])
            return
        if self._is_valid(payload):
            return
        if self._is_large:
            raise PayloadInvalid(self.deployed.name, [{"field": "", "message": "does not fit the schema"}])
        try:
            wrong = list(itertools.islice(self._validator.iter_errors(payload), ERRORS_SHOWN))
        except ValueError as error:  # jsonschema-rs has a limit of its own there
            errors: list[FieldError] = [{"field": "", "message": f"is nested too deeply: {error}"}]
            raise PayloadInvalid(self.deployed.name, errors) from None
        found = [field for error in wrong for field in _field_errors(error)]
        raise PayloadInvalid(self.deployed.name, [self._without_secrets(field) for field in found])

    def _without_secrets(self, error: FieldError) -> FieldError:
        """What is wrong with a secret field is told without its value."""
        if error["message"] in _TELLS_NOTHING or not secret_fields.is_near(names(error["field"]), self.secret):
            return error
        return {"field": error["field"], "message": "is not valid"}

    def _is_valid(self, payload: Any) -> bool:
        assert self._validator is not None
        try:
            return self._validator.is_valid(payload)
        except ValueError:
            return True  # not JSON, such as bytes from the Python client; the worker validates


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """Raises ValueError for what is no schema, or refers to what is elsewhere."""
    return jsonschema_rs.validator_for(schema, retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri[:200]} is not a part of the schema")


def _field_errors(error: Any) -> list[FieldError]:
    """One for each field: an error about a missing or unknown key belongs to the key."""
    at = pointer(error.instance_path)
    if error.kind.name == "required":
        return [{"field": f"{at}/{error.kind.property}", "message": "is required"}]
    if error.kind.name == "additionalProperties":
        return [{"field": f"{at}/{name}", "message": "is not a parameter"} for name in error.kind.unexpected]
    ways = [way for way in getattr(error.kind, "context", []) if way]
    if not ways:
        return [{"field": at, "message": str(error.message)[:500]}]
    # of a union: why it is none of them, each by one reason; of one with tags, why it is not what its tag says
    tags = [next((e for e in way if e.kind.name in ("const", "enum")), None) for way in ways]
    if None in tags and any(tags):
        ways, tags = [way for way, tag in zip(ways, tags, strict=True) if tag is None], []
    reasons = [_field_errors(tag or way[0])[0] for way, tag in itertools.zip_longest(ways, tags)]
    messages = [f"{r['field'].removeprefix(at)} {r['message']}".strip() for r in reasons]
    return [{"field": at, "message": ", and ".join(dict.fromkeys(messages))[:500]}]


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in each other more than `levels` deep."""
    if not isinstance(value, (dict, list, tuple)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _is_recursive(schema: dict[str, Any]) -> bool:
    """Whether a definition of the schema contains itself."""
    named = {
        f"#/$defs/{name}": set(_references(definition)) for name, definition in schema.get("$defs", {}).items()
    }
    for start in named:
        reached, new = set[str](), {start}
        while new:
            new = {ref for name in new for ref in named.get(name, ())} - reached
            if start in new:
                return True
            reached |= new
    return False


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)
