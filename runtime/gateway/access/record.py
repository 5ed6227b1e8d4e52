"""What the gateway's log has of refusals and of what operators do."""

from __future__ import annotations

import time

from runtime import log
from runtime.errors import LaneworkError
from runtime.store.access import AccessKey

_SHOWN = 200  # characters of a path
_PER_SECOND = 20  # refusals of requests that show no valid key; anybody can make more


class Record:
    """Writes it. `path`: as it was asked for, line breaks included."""

    def __init__(self) -> None:
        self._log = log.get("gateway")
        self._second = 0
        self._written = self._left_out = 0

    def refused(self, key: AccessKey | None, method: str, path: str, error: LaneworkError) -> None:
        fields = {"code": error.code, "why": str(error)}
        if key is not None or self._has_room():
            if self._left_out:
                fields["left_out"], self._left_out = str(self._left_out), 0
            self._tell("access.refused", key, method, path, **fields)

    def acted(self, key: AccessKey | None, method: str, path: str, outcome: int | str) -> None:
        self._tell("operator.acted", key, method, path, outcome=outcome)

    def _has_room(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        if self._written <= _PER_SECOND:
            return True
        self._left_out += 1
        return False

    def _tell(self, event: str, key: AccessKey | None, method: str, path: str, **fields: object) -> None:
        name = None if key is None else key.name
        self._log.info(event, key=name, method=method, path=path[:_SHOWN], **fields)
