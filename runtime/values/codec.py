"""What values look like on the wire: msgpack in Redis, JSON over HTTP.

JSON has no bytes, so they are shown as `{"$base64": "…"}`. A value is taken as Python gives it,
with the types that pydantic can turn into JSON (models, dataclasses, dates, enums, paths, …).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgpack
import orjson
from pydantic_core import PydanticSerializationError, to_jsonable_python

_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_SCALARS = frozenset((type(None), bool, int, float, str, bytes))


def pack(value: Any) -> bytes:
    """msgpack; raises TypeError or ValueError for what it cannot hold."""
    try:
        packed: bytes = msgpack.packb(value, default=_plain)
    except OverflowError:
        raise ValueError("an integer has at most 64 bits; give a larger one as text") from None
    except (PydanticSerializationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return packed


def pack_shown(value: Any) -> bytes:
    """As `pack`, for what will be shown as JSON too; raises for what JSON cannot show, or would change in silence:
    keys that become one, NaN and infinity, 250 levels of nesting."""
    packed = pack(value)
    if type(value) not in _SCALARS:
        try:
            plain = unpack(packed)
        except TypeError:  # a tuple comes back as a list
            raise ValueError("a key is text or a number in JSON, not a tuple") from None
        try:
            shown = orjson.dumps([[[plain]]], default=_jsonable)  # a job shows it some levels deep
        except TypeError:  # also where there are keys that are no text
            shown = to_json([[[plain]]])
            _refuse_equal_keys(plain)
        if b"null" in shown:
            _refuse_not_finite(plain)
    elif type(value) is float:
        _refuse_not_finite(value)
    return packed


def _refuse_equal_keys(value: Any) -> None:
    for part in _each(value):
        if isinstance(part, dict):
            names = Counter(str(from_json(to_json({key: None})).popitem()[0]) for key in part)
            if twice := [name for name, count in names.items() if count > 1]:
                raise ValueError(f"two keys are {twice[0]!r} in JSON: 1 and '1' are one there")


def _refuse_not_finite(value: Any) -> None:
    for part in _each(value):
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{part} is not a JSON number: give None, or text")


def _each(value: Any) -> Iterator[Any]:
    """The value and everything in it."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        yield inner
        if isinstance(inner, dict):
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


def unpack_any(data: bytes) -> Any:
    """As `unpack`; an unreadable value is shown as such, so that it does not break its page."""
    try:
        return unpack(data)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        return unreadable(error)


def unreadable(error: Exception) -> dict[str, str]:
    """What stands in place of a value that cannot be shown."""
    return {"$unreadable": (str(error) or type(error).__name__)[:200]}


def showable(value: Any) -> Any:
    """The value, or what stands in its place where JSON cannot show it."""
    try:
        to_json([[[value]]])
    except (ValueError, TypeError, RecursionError) as error:
        return unreadable(error)
    return value


def unpack_stream(data: bytes) -> list[Any]:
    """Values packed one after the other, as scripts append them; `cmsgpack` knows raw strings only."""
    if not data:
        return []
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(data)
    return list(unpacker)


def each(data: bytes) -> Iterator[Any]:
    """The values that `pack` made, one after the other, read lazily."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
    unpacker.feed(data)
    yield from unpacker


def pack_batch(batch: Any) -> bytes:
    """A script's one argument: text and bytes both become raw strings, the only kind that `cmsgpack` reads."""
    packed: bytes = msgpack.packb(batch, use_bin_type=False)
    return packed


def to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_jsonable, option=orjson.OPT_NON_STR_KEYS)


def to_exact_json(value: Any) -> bytes:
    """As `to_json`, for what comes back as it was: raises TypeError or ValueError also for bytes within it."""
    packed = pack_shown(value)
    return orjson.dumps(unpack(packed), option=orjson.OPT_NON_STR_KEYS)


def from_json(data: bytes) -> Any:
    """Raises ValueError where `data` is not JSON (RFC 8259).

    Integers are exact. orjson makes a float of one beyond 64 bits, and so of one that is merely wrong by a digit.
    """
    value = orjson.loads(data)
    if not _LONG_NUMBER.search(data):
        return value
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _plain(value: Any) -> Any:
    return to_jsonable_python(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    return to_jsonable_python(value)
