"""Ids of requests: the caller's own, or new ones."""

from __future__ import annotations

import itertools
import re
import secrets

_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)
_OWN = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def named(own: str | None) -> str:
    """As a client or a proxy gave it, unless it could be mistaken for something else in a log."""
    return own if own is not None and _OWN.fullmatch(own) else f"{_PROCESS}-{next(_numbers)}"
