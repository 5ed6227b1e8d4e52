"""Where in a JSON document a value lies."""

from __future__ import annotations

from collections.abc import Iterable


def pointer(path: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901) of the value reached by these keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def names(pointer: str) -> list[str]:
    """The keys and indices of a JSON Pointer, as text."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
