"""Sizes of memory, as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"\s*(\d{1,15})\s*([KMG]?)(?:i?B)?\s*", re.IGNORECASE)


def octets(value: int | str) -> int:
    """Bytes from a number of them, or from text such as "512M" (of 1024 x 1024 bytes). Raises ValueError."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _UNITS[found[2].upper()]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f'{value!r} is not a size: give bytes, or text such as "512M" or "2G"')
    return value


def shown(size: int) -> str:
    """As people would write it: 512M."""
    for unit in ("G", "M", "K"):
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
