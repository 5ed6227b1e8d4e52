"""Every error that Lanework raises, each with a stable code that the edges translate.

LaneworkError
├── SettingsInvalid        settings-invalid
├── FunctionInvalid        function-invalid      a module that cannot serve as a function
├── FunctionUnknown        function-unknown      no function of that name has been deployed
├── FunctionBroken         function-broken       its module loads nowhere, and never has
├── NotReady               not-ready             a gateway that does not know the functions yet
├── PayloadInvalid         payload-invalid       the payload does not fit the function's schema
├── JobInvalid             job-invalid           a job with an impossible option
├── EventInvalid           event-invalid         an event that CloudEvents does not allow
├── KeyReused              key-reused            an idempotency key that stands for another job
├── QueueFull              queue-full            as many jobs wait as the function allows
├── StatusConflict         status-conflict       a change that the job's status does not allow
├── LaneUnknown            lane-unknown
├── JobNotFound            job-not-found
├── JobUnsettled           job-unsettled         the result was asked for too early
├── JobFailed              job-failed            the result of a job that has none was asked for
├── AccessDenied           access-denied         no access key, or one that is not valid
├── AccessForbidden        access-forbidden      an access key that does not allow this
├── RateExceeded           rate-exceeded         an access key that asks more often than it may
├── LoopChanged            loop-changed          a client that is used on a second event loop
├── ClientMissing          client-missing        a handle that enqueues while no client is open
├── HistoryUnavailable     history-unavailable   the database of history does not answer
│   ├── HistoryMissing     history-missing       none is set, and only a history could tell
│   ├── HistoryRefused     history-refused       it does not take a row
│   └── HistoryOutdated    history-outdated      its tables are not this version's
└── StoreError             store-error
    ├── StoreUnavailable   store-unavailable     Redis does not answer
    ├── StoreUnsupported   store-unsupported     a server that is too old
    └── StoreMismatch      store-mismatch        processes disagree about lanes or shards

Raised by handlers to steer their own attempt, and not errors of Lanework:
Permanent (fail at once) and RetryLater (retry after a chosen delay). Raised in them: Stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

ERRORS_SHOWN = 20  # of a payload with a hundred thousand wrong fields, the first are reported


class FieldError(TypedDict):
    """One field that does not fit: a JSON Pointer (RFC 6901) and what is wrong there."""

    field: str
    message: str


class LaneworkError(Exception):
    """The root of the tree; `code` never changes once released. `stored`: the ids of those jobs of the same call
    that were stored before."""

    code: ClassVar[str] = "error"
    stored: Sequence[str] = ()


class SettingsInvalid(LaneworkError):
    code = "settings-invalid"


class FunctionInvalid(LaneworkError):
    code = "function-invalid"


class FunctionUnknown(LaneworkError):
    code = "function-unknown"

    def __init__(self, name: str, near: Sequence[str] = (), *, none_known: bool = False) -> None:
        """`none_known`: whether no function at all is known."""
        self.name, self.near = name, list(near)
        hint = f"; did you mean {' or '.join(self.near)}?" if self.near else ""
        hint = "; no worker has come up yet" if none_known else hint
        super().__init__(f"no function is named {name[:100]!r}{hint}")


class FunctionBroken(LaneworkError):
    code = "function-broken"

    def __init__(self, name: str, trace: str) -> None:
        why = trace.strip().rpartition("\n")[2]
        super().__init__(f"{name} loads on no worker: {why}; GET /functions/{name} has the traceback")


class NotReady(LaneworkError):
    code = "not-ready"


class PayloadInvalid(LaneworkError):
    code = "payload-invalid"

    def __init__(self, function: str, errors: Sequence[FieldError]) -> None:
        self.function, self.errors = function, list(errors)
        problems = "; ".join(f"{e['field'] or 'payload'}: {e['message']}" for e in self.errors)
        super().__init__(f"the payload does not fit {function}: {problems}")


class JobInvalid(LaneworkError):
    code = "job-invalid"

    def __init__(self, message: str, errors: Sequence[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__(message)


class EventInvalid(LaneworkError):
    code = "event-invalid"

    def __init__(self, message: str, errors: Sequence[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__(message)


class KeyReused(LaneworkError):
    code = "key-reused"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} already uses this idempotency key, with a different request")


class QueueFull(LaneworkError):
    code = "queue-full"

    def __init__(self, function: str, waiting: int, retry_after: int = 1) -> None:
        """`retry_after`: seconds until it is worth trying again."""
        self.retry_after = retry_after
        super().__init__(f"{waiting} jobs of {function} wait already, which is its limit; try again later")


class StatusConflict(LaneworkError):
    code = "status-conflict"


class LaneUnknown(LaneworkError):
    code = "lane-unknown"


class JobNotFound(LaneworkError):
    code = "job-not-found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} does not exist, or its record has expired")


class JobUnsettled(LaneworkError):
    code = "job-unsettled"


class JobFailed(LaneworkError):
    code = "job-failed"


class AccessDenied(LaneworkError):
    code = "access-denied"


class AccessForbidden(LaneworkError):
    code = "access-forbidden"


class RateExceeded(LaneworkError):
    """`retry_after`: seconds until it is worth trying again."""

    code = "rate-exceeded"

    def __init__(self, message: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class LoopChanged(LaneworkError):
    code = "loop-changed"

    def __init__(self) -> None:
        super().__init__(
            "this client belongs to another event loop, on which its connections are: make one within each "
            "asyncio.run, as `async with Lanework() as lanework:` does"
        )


class ClientMissing(LaneworkError):
    code = "client-missing"


class StoreError(LaneworkError):
    code = "store-error"


class StoreUnavailable(StoreError):
    code = "store-unavailable"


class StoreUnsupported(StoreError):
    code = "store-unsupported"


class StoreMismatch(StoreError):
    code = "store-mismatch"


class HistoryUnavailable(LaneworkError):
    code = "history-unavailable"


class HistoryRefused(HistoryUnavailable):
    code = "history-refused"


class HistoryMissing(HistoryUnavailable):
    code = "history-missing"


class HistoryOutdated(HistoryUnavailable):
    code = "history-outdated"


class Permanent(Exception):
    """Raise from a handler to fail the job now, whatever attempts are left."""


class Stopped(BaseException):
    """Raised in a handler whose attempt is over: it timed out, was cancelled, lost its lease, or its worker leaves.

    Not an `Exception`, so that a handler's own `except Exception` lets it pass.
    """


class RetryLater(Exception):
    """Raise from a handler to retry after `seconds`, in place of the policy's backoff."""

    def __init__(self, seconds: float, reason: str = "asked to be retried later") -> None:
        super().__init__(reason)
        self.seconds = max(0.0, float(seconds))
