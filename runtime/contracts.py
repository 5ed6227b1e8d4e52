"""The functions that can be enqueued, as workers published them, and what their payloads must be."""

from __future__ import annotations

import asyncio
import difflib
import time
from typing import Any

import jsonschema_rs

from runtime.errors import FieldError, FunctionUnknown, PayloadInvalid
from runtime.store.registry import Deployed, Registry

_FRESH = 1.0
_SOON = 0.1  # an unknown name is looked up again, but not for every request of a flood


class Contract:
    """One deployed function and its validator."""

    __slots__ = ("_validator", "deployed")

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self._validator = None if deployed.broken else jsonschema_rs.validator_for(deployed.schema)

    def check(self, payload: Any) -> None:
        """Raises PayloadInvalid that names each field that does not fit."""
        if self._validator is None:
            return  # no schema is known: the worker that can load the module validates
        if payload is None and self.deployed.schema.get("type") == "object":
            payload = {}
        try:
            if self._validator.is_valid(payload):
                return
        except ValueError:
            return  # not JSON, such as bytes from the Python client; the worker validates
        errors = [found for error in self._validator.iter_errors(payload) for found in _field_errors(error)]
        raise PayloadInvalid(self.deployed.name, errors)


class Contracts:
    """All contracts, read from Redis when asked for and at most a second old.

    While Redis does not answer, those known already go on serving: storing the job will tell.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, Contract] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Lock = asyncio.Lock()

    async def get(self, name: str) -> Contract:
        """Raises FunctionUnknown with near names."""
        found = self._known.get(name)
        if found is not None and time.monotonic() - self._read_at < _FRESH:
            return found
        await self._refresh(_SOON if found is None else _FRESH)
        found = self._known.get(name)
        if found is None:
            raise FunctionUnknown(name, difflib.get_close_matches(name, self._known))
        return found

    async def all(self) -> dict[str, Contract]:
        await self._refresh(0.0)
        return self._known

    async def _refresh(self, older_than: float) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < older_than:
                return
            deployed = await self._registry.functions()
            known = self._known
            self._known = {
                name: known[name] if name in known and known[name].deployed == found else Contract(found)
                for name, found in deployed.items()
            }
            self._read_at = time.monotonic()


def _field_errors(error: Any) -> list[FieldError]:
    """One for each field: an error about a missing or unknown key belongs to the key."""
    at = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path)
    if error.kind.name == "required":
        return [{"field": f"{at}/{error.kind.property}", "message": "is required"}]
    if error.kind.name == "additionalProperties":
        return [{"field": f"{at}/{name}", "message": "is not a parameter"} for name in error.kind.unexpected]
    return [{"field": at, "message": str(error.message)[:500]}]
