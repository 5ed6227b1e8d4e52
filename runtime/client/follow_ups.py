"""Payloads of follow-ups that tell of the job before them: `{"$job": …}` stands for a field of it, or for several.

The fields are known when that job settles, in the script that starts the follow-up. So the payload is packed with a
mark in each such place and cut there; the script puts the fields between the parts.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from runtime.errors import JobInvalid
from runtime.values import codec

FIELDS = (
    "id",
    "type",
    "lane",
    "status",
    "payload",
    "result",
    "error",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
)
_NAME = "$job"
_DIGITS = 4  # of a mark's number
_DEPTH = 250  # levels; JSON has no more here
_MOST = 1000  # fields that one payload asks for


class Template:
    """A payload, and the fields that it asks for, in their order."""

    def __init__(self, payload: Any) -> None:
        """Raises JobInvalid for a field that no job has."""
        self.fields: list[str | list[str]] = []
        self._token = ""
        self.payload = self._marked(payload, _DEPTH)

    def cut(self, packed: bytes) -> list[Any] | None:
        """The packed payload's bytes with the fields between them; None where it asks for none."""
        if not self.fields:
            return None
        mark = codec.pack(self._mark(0))
        first, *others = packed.split(mark[:-_DIGITS])
        parts: list[Any] = [first]
        for other in others:
            parts += [self.fields[int(other[:_DIGITS])], other[_DIGITS:]]
        return parts

    def is_in(self, value: Any) -> bool:
        """Whether a part of the payload is filled in later."""
        return bool(self.fields) and self._token.encode() in codec.pack(value)

    def _marked(self, value: Any, depth: int) -> Any:
        if depth == 0:
            raise _wrong("cannot be looked for: the payload is nested too deeply")
        if isinstance(value, dict):
            if len(value) == 1 and _NAME in value:
                self._token = self._token or secrets.token_hex(16)  # nobody's payload has it
                self.fields.append(_fields(value[_NAME]))
                if len(self.fields) > _MOST:
                    raise _wrong(f"stands in a payload at most {_MOST} times")
                return self._mark(len(self.fields) - 1)
            return {name: self._marked(inner, depth - 1) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._marked(inner, depth - 1) for inner in value]
        return value

    def _mark(self, number: int) -> str:
        return f"{self._token}-{number:0{_DIGITS}}"


def _fields(wanted: Any) -> str | list[str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, Sequence) or not names or len({*names} if _are_text(names) else ()) != len(names):
        raise _wrong('is a field of the job, or a list of some, such as {"$job": ["id", "status"]}')
    if unknown := [name for name in names if name not in FIELDS]:
        raise _wrong(f"{unknown[0][:50]!r} is no field of a job that has settled: {', '.join(FIELDS)}")
    return wanted if isinstance(wanted, str) else list(names)


def _are_text(names: Sequence[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


def _wrong(message: str) -> JobInvalid:
    return JobInvalid(f"payload: $job {message}", [{"field": "/payload", "message": f"$job {message}"}])
