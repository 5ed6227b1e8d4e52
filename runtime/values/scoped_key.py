"""Idempotency keys of different callers never meet."""

from __future__ import annotations

import hashlib


def scoped_key(caller: str, own: str) -> str:
    """A caller's own idempotency key, as it is stored. `caller`: `key:` and an access key's name, or else the
    credentials that were shown."""
    return f"{hashlib.sha256(caller.encode()).hexdigest()}:{own}"
