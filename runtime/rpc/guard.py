"""What stands in front of the services, as the server needs it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from runtime.jobs.event import Publication
from runtime.jobs.request import JobRequest


class Permission(Protocol):
    """What attempts may start. `is_limited`: whether not everything."""

    is_limited: bool

    async def require(self, started: JobRequest | Publication) -> None:
        """Raises AccessForbidden, StoreUnavailable."""

    def sign(self, request: JobRequest) -> None:
        """Has callbacks signed with the caller's own secret, where there is one."""


class Guard(Protocol):
    """Lets calls in."""

    def admitted(self, service: str, method: str, authorization: str) -> AbstractAsyncContextManager[str]:
        """Who calls, in whose scope idempotency keys are, while the call lasts. `authorization`: what the caller
        shows; a service that is open to all asks for nothing.

        Raises AccessDenied, AccessForbidden, RateExceeded, StoreUnavailable.
        """

    # about the caller of the call that is being answered

    async def require_function(self, name: str) -> None:
        """Raises AccessForbidden where the caller is not for this function, StoreUnavailable."""

    def require_all(self, what: str) -> None:
        """For what may come of any function. Raises AccessForbidden where the caller is for some alone."""

    def permission(self) -> Permission:
        """What attempts that the caller runs may start; holds once the call is over, too."""

    def functions_changed(self) -> None:
        """Others are deployed now than were known."""

    async def is_valid(self) -> bool:
        """Whether the caller would be let in still. Raises StoreUnavailable."""
