"""How an attempt failed, as its job keeps it."""

from __future__ import annotations

import traceback
from types import FrameType
from typing import NamedTuple

from runtime.errors import FunctionUnknown, JobInvalid, LaneUnknown, PayloadInvalid, Permanent, RetryLater
from runtime.jobs.retry import Retry
from runtime.values import codec, sizes

_NAME = 200
_MESSAGE = 2_000
_TRACEBACK = 4_000
_FRAMES = 12
# packages whose frames mean nothing to a function's author: they run it or load it
_RUNNING = ("runtime.worker", "runtime.remote")
_LOADING = ("runtime.worker", "runtime.handlers", "importlib")


class Failure(NamedTuple):
    """`record`: the error, packed. `final`: no further attempt can help. `seconds`: until the next attempt,
    None for as long as the policy says."""

    record: bytes
    final: bool = False
    seconds: float | None = None
    summary: str = ""


class Timeout(Exception):
    """An attempt that outlived its function's timeout."""


class Crashed(Exception):
    """The process of an attempt died."""


class RunnerLost(Crashed):
    """What ran the attempt was lost, with others that it ran: which attempt caused it is unknown."""


class RemoteLost(RunnerLost):
    """The remote worker of an attempt was lost."""

    def __init__(self, why: str) -> None:
        super().__init__(f"its remote worker was lost: {why}")


class ForkserverLost(RunnerLost):
    """The process of an attempt was lost with the fork server."""

    def __init__(self) -> None:
        super().__init__("its process was lost together with the one that starts them")


class Exited(Exception):
    """A handler tried to end its process by `error`, SystemExit or KeyboardInterrupt."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class OutOfMemory(Exception):
    """An attempt that needed more memory than its function or the machine has."""

    def __init__(self, ceiling: int | None) -> None:
        limit = "" if ceiling is None else f": the function may use {sizes.shown(ceiling)}"
        super().__init__(f"out of memory{limit}")


class LoadTimeout(Exception):
    """A module whose import did not end."""


class ResultTooLarge(Permanent):
    """A result of more bytes than may be kept."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the result has {size} bytes, the limit is {limit}")


class HandlerFailed(Exception):
    """An attempt failed in another process."""

    def __init__(self, failed: Failure) -> None:
        super().__init__(failed.summary)
        self.failure = failed


# no further attempt can mend what is wrong in the request or the code
_HOPELESS = (Permanent, PayloadInvalid, JobInvalid, FunctionUnknown, LaneUnknown)


def failure(error: BaseException, retry: Retry | None = None, last_output: str = "") -> Failure:
    """What a handler's exception means for its job; the frames of the runtime itself are left out.

    `retry`: which errors its function retries; None: all that another attempt may help. `last_output`: the last
    that the process printed, kept in place of a traceback for errors that have none.
    """
    if isinstance(error, HandlerFailed):
        return error.failure
    error = error.error if isinstance(error, Exited) else error
    name = type(error).__name__[:_NAME]
    hopeless = isinstance(error, _HOPELESS)
    final = hopeless or (retry is not None and not retry.helps(error))
    message = _text(error)
    trace = last_output or None
    if not hopeless and not isinstance(error, (Timeout, Crashed, OutOfMemory, LoadTimeout)):
        trace = "".join(_frames(error, _RUNNING).format()) + f"{name}: {message}"
    seconds = error.seconds if isinstance(error, RetryLater) else None
    return Failure(record(name, message, trace), final, seconds, f"{name}: {message}"[:500])


def load_trace(error: BaseException) -> str:
    """Why a module does not load: its own frames, without those of the loader."""
    own = _frames(error, _LOADING)
    summary = "".join(traceback.format_exception_only(error))
    head = "Traceback (most recent call last):\n" if own else ""
    return head + "".join(own.format()) + summary


def _frames(error: BaseException, without: tuple[str, ...]) -> traceback.StackSummary:
    """The last frames of an error, those of some packages left out."""

    def is_shown(frame: FrameType) -> bool:
        module = f"{frame.f_globals.get('__name__', '')}."
        return not any(module.startswith(f"{package}.") for package in without)

    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if is_shown(frame)]
    return traceback.StackSummary.extract(iter(frames[-_FRAMES:]))


def _text(error: BaseException) -> str:
    """What an error says; one whose own text cannot be made has none."""
    try:
        return str(error)
    except Exception:
        return "(its text could not be made)"


def record(name: str, message: str, trace: str | None = None) -> bytes:
    """An error packed; text that is not valid Unicode is escaped."""
    trace = trace and trace[-_TRACEBACK:]
    fields = {"type": name, "message": message[:_MESSAGE], "traceback": trace}
    return codec.pack({k: v and v.encode("utf-8", "backslashreplace").decode() for k, v in fields.items()})
