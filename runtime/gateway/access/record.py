"""What the gateway's log has of refusals and of what operators do."""

from __future__ import annotations

import time

from starlette.requests import Request

from runtime import log
from runtime.errors import LaneworkError
from runtime.store.access import AccessKey

_SHOWN = 200  # characters of a path
_PER_SECOND = 20  # refusals of requests that show no valid key; anybody can make more


class Record:
    """Writes it."""

    def __init__(self) -> None:
        self._log = log.get("gateway")
        self._second = 0
        self._written = self._left_out = 0

    def refused(self, key: AccessKey | None, request: Request, error: LaneworkError) -> None:
        fields = {"code": error.code, "why": str(error)}
        if key is not None or self._has_room():
            if self._left_out:
                fields["left_out"], self._left_out = str(self._left_out), 0
            self._tell("access.refused", key, request, **fields)

    def acted(self, key: AccessKey | None, request: Request, outcome: int | str) -> None:
        self._tell("operator.acted", key, request, outcome=outcome)

    def _has_room(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        if self._written <= _PER_SECOND:
            return True
        self._left_out += 1
        return False

    def _tell(self, event: str, key: AccessKey | None, request: Request, **fields: object) -> None:
        # the scope's path: the one of the URL is without the line breaks that it was asked with
        path = request.scope["path"][:_SHOWN]
        self._log.info(event, key=None if key is None else key.name, method=request.method, path=path, **fields)
