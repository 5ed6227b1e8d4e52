"""What was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`code`: stable. `severity`: `error` where jobs may be lost or are not run. `what` is wrong, and what to `do`.
    `fix`: the parameter of the server and its value that mend it, where that is safe."""

    code: str
    severity: Severity
    what: str
    do: str
    fix: tuple[str, str] | None = None
