"""What jobs belong to, as `{"order": "o1"}`, by which they are found and cancelled together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

MAX_TAGS = 8
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_LONGEST = 100


def parse(value: Any) -> dict[str, str]:
    """From a mapping, or from text such as "order:o1,customer:c7". Raises ValueError."""
    if isinstance(value, str):
        pairs = [part.strip().partition(":") for part in value.split(",")]
        if len({name for name, _, _ in pairs}) < len(pairs):
            raise ValueError("names a tag twice")
        value = {name: text for name, _, text in pairs}
    if not isinstance(value, Mapping) or len(value) > MAX_TAGS:
        raise ValueError(f'is an object of up to {MAX_TAGS} texts, such as {{"order": "o1"}}')
    for name, text in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"has names of a-z, 0-9, ., - and _, not {str(name)[:40]!r}")
        if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST or not text.isprintable() or "," in text:
            raise ValueError(f"{name} is text of 1 to {_LONGEST} characters without a comma")
    return dict(value)


def parse_one(text: str) -> str:
    """One tag, as `name:value`. Raises ValueError."""
    name, _, value = text.partition(":")
    parse({name: value})
    return text


def packed(tags: Mapping[str, str]) -> dict[str, str]:
    """As records keep them: `name:value` by the digest that stands for it in the store."""
    return {digest(f"{name}:{value}"): f"{name}:{value}" for name, value in tags.items()}


def unpacked(kept: Mapping[bytes, bytes]) -> dict[str, str]:
    pairs = [tag.decode().partition(":") for tag in kept.values()]
    return {name: value for name, _, value in pairs}


def digest(tag: str) -> str:
    """Of `name:value`."""
    return hashlib.blake2b(tag.encode(), digest_size=12).hexdigest()
