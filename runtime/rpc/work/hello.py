"""What a remote worker says of itself, checked: a careless or hostile hello must not reach others."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, NamedTuple

from runtime.client.complexity import has_more_parts
from runtime.client.payload_check import Contract, validator
from runtime.errors import FunctionInvalid
from runtime.handlers.catalogue import Catalogue
from runtime.handlers.policy import MARK, NAME, Policy, function
from runtime.handlers.spec import Spec
from runtime.jobs.built_in import NAMES
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.status import RequestInvalid
from runtime.rpc.work.options import options
from runtime.settings import Settings
from runtime.store.registry import describe
from runtime.values import codec

MAX_SLOTS = 1000  # as many payloads the gateway may hold for the worker
_MAX_FUNCTIONS = 200
_SCHEMA = 64 << 10  # characters
_PARTS = 10_000  # of a schema, unfolded
_DOC = 4096
_WORKER = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_VERSION = re.compile(r"[A-Za-z0-9._+-]{0,64}")
_OF_FILES = ("hook", "isolation", "memory", "recycle")  # options of functions that Lanework runs itself


class Announced(NamedTuple):
    """A worker's name, how many attempts it runs at once, and its functions."""

    name: str
    slots: int
    catalogue: Catalogue


def read_hello(hello: pb.Hello, settings: Settings) -> Announced:
    """Raises RequestInvalid."""
    if not _WORKER.fullmatch(hello.name):
        raise RequestInvalid("has 1 to 40 of a-z, 0-9, . _ and -, such as mailer-1", "hello.name")
    if not 1 <= hello.slots <= MAX_SLOTS:
        raise RequestInvalid(f"is a number from 1 to {MAX_SLOTS}", "hello.slots")
    if not 1 <= len(hello.functions) <= _MAX_FUNCTIONS:
        raise RequestInvalid(f"are 1 to {_MAX_FUNCTIONS} functions", "hello.functions")
    catalogue = Catalogue()
    for index, announced in enumerate(hello.functions):
        place = f"hello.functions[{index}]"
        try:
            catalogue.add(_spec(announced, place, settings))
        except FunctionInvalid as error:
            raise RequestInvalid(str(error), place) from None
    return Announced(hello.name, hello.slots, catalogue)


def _spec(announced: pb.RemoteFunction, place: str, settings: Settings) -> Spec:
    if not NAME.fullmatch(announced.name) or announced.name in NAMES:
        message = "has up to 64 of a-z, 0-9 and _, starts with a letter, and is not one of Lanework's own"
        raise RequestInvalid(message, f"{place}.name")
    if not _VERSION.fullmatch(announced.version):
        raise RequestInvalid("has up to 64 of A-Z, a-z, 0-9, . _ + and -", f"{place}.version")
    spec = Spec()
    spec.name, spec.doc, spec.version = announced.name, announced.doc[:_DOC], announced.version
    spec.schema = _schema(announced.schema, f"{place}.schema")
    spec.returns = _schema(announced.returns, f"{place}.returns")
    spec.policy = _policy(announced.options, f"{place}.options")
    spec.hook, spec.is_async, spec.isolation, spec.source = None, True, "remote", None
    try:
        deployed = describe(spec.name, spec, settings)
        Contract(deployed)
        codec.pack_shown(asdict(deployed))
    except Exception as error:  # whatever is odd in it: it would keep all functions from being read
        raise RequestInvalid(f"cannot be used: {error}", place) from None
    return spec


def _schema(text: str, field: str) -> dict[str, Any]:
    if not text:
        return {}
    if len(text) > _SCHEMA:
        raise RequestInvalid(f"has at most {_SCHEMA} characters", field)
    schema = _object(text, field)
    try:
        validator(schema)
        if has_more_parts(schema, _PARTS):
            raise ValueError("what it refers to unfolds to too much")
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"is no JSON Schema: {str(error)[:300]}", field) from None
    return schema


def _policy(text: str, field: str) -> Policy:
    given = _object(text, field) if text else {}
    if own := sorted(given.keys() & set(_OF_FILES)):
        raise RequestInvalid(f"{', '.join(own)}: a remote worker runs its functions itself", field)

    async def stand_in() -> None: ...

    try:
        function(**options(given))(stand_in)
    except (FunctionInvalid, TypeError, ValueError) as error:
        raise RequestInvalid(f"{error} (they are those of @function)", field) from None
    policy: Policy = getattr(stand_in, MARK)
    return policy


def _object(text: str, field: str) -> dict[str, Any]:
    try:
        value = codec.from_json(text.encode())
    except ValueError as error:
        raise RequestInvalid(f"is not JSON: {error}", field) from None
    if not isinstance(value, dict):
        raise RequestInvalid("is an object", field)
    return value
