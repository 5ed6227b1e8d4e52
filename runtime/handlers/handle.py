"""What `@function` makes of a handler for those who enqueue: a handle that type checkers know.

from functions.words import handle as words

job = await words.enqueue(text="one two")            # with the client that is open; Job[dict[str, int] | None]
job_id = words.enqueue(ctx, text="one two")          # in a handler: if its attempt completes
job = await words.options(delay="10m").enqueue(text="one two")
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from typing_extensions import Unpack

from runtime.errors import ClientMissing
from runtime.handlers.context import Context
from runtime.jobs.event import Event
from runtime.jobs.job import Job
from runtime.jobs.request import ClientOptions, Options

Call = ParamSpec("Call")  # the handler's parameters
Returned = TypeVar("Returned")  # what calling it returns: a coroutine, where it is async
Payload = ParamSpec("Payload")  # its parameters without the context
Result = TypeVar("Result")


class Client(Protocol):
    """What a handle enqueues with: `Lanework`."""

    def enqueue(
        self, type: str, payload: Any = None, **options: Unpack[ClientOptions]
    ) -> Coroutine[Any, Any, Job[Any]]: ...


open_clients: list[Client] = []  # the newest last


class Enqueuing(Generic[Payload, Result]):
    """Enqueues jobs of one function, with these options."""

    def __init__(self, handler: Callable[..., Any], options: Options) -> None:
        self._handler = handler
        self._options = options

    @overload
    def enqueue(self, ctx: Context, /, *args: Payload.args, **payload: Payload.kwargs) -> str: ...
    @overload
    def enqueue(self, *args: Payload.args, **payload: Payload.kwargs) -> Awaitable[Job[Result | None]]: ...
    def enqueue(self, *args: Any, **payload: Any) -> Any:  # type: ignore[misc]  # of overloads with a ParamSpec
        """Enqueues a job with this payload, given by keyword.

        With a context first: as `Context.enqueue`. Else, to be awaited: as `Lanework.enqueue`, by the client that
        was opened last. Raises ClientMissing where no client is open, and what those do.
        """
        ctx, rest = (args[0], args[1:]) if args and isinstance(args[0], Context) else (None, args)
        if rest:
            raise TypeError("the payload goes by keyword, such as enqueue(text='one two')")
        name, value = job_type(self._handler), payload.get("payload") if _is_whole(self._handler) else payload
        if ctx is not None:
            return ctx.enqueue(name, value, **self._options)
        if not open_clients:
            message = "no client is open: `async with Lanework():` opens one; in a handler, give its context first"
            raise ClientMissing(message)
        return open_clients[-1].enqueue(name, value, **self._options)


class Handle(Enqueuing[Payload, Result], Generic[Call, Returned, Payload, Result]):
    """A marked handler, as type checkers see it: it is called as before, and enqueued with its own parameters."""

    __name__: str
    __doc__: str | None

    def __call__(self, *args: Call.args, **kwargs: Call.kwargs) -> Returned:
        raise NotImplementedError  # a handle is the handler itself, with the methods below

    def options(self, **options: Unpack[Options]) -> Enqueuing[Payload, Result]:
        """The same with options: priority, delay, unique, …; see `JobRequest`."""
        return Enqueuing(self._handler, options)


class Mark(Protocol):
    """What `@function(…)` does to a handler: async or not, with the context first or without one."""

    @overload
    def __call__(
        self, handler: Callable[Concatenate[Context, Payload], Coroutine[Any, Any, Result]]
    ) -> Handle[Concatenate[Context, Payload], Coroutine[Any, Any, Result], Payload, Result]: ...
    @overload
    def __call__(
        self, handler: Callable[Concatenate[Context, Payload], Result]
    ) -> Handle[Concatenate[Context, Payload], Result, Payload, Result]: ...
    @overload
    def __call__(
        self, handler: Callable[Payload, Coroutine[Any, Any, Result]]
    ) -> Handle[Payload, Coroutine[Any, Any, Result], Payload, Result]: ...
    @overload
    def __call__(self, handler: Callable[Payload, Result]) -> Handle[Payload, Result, Payload, Result]: ...


def attach(handler: Callable[..., Any]) -> None:
    """Makes a handle of a handler."""
    handle: Handle[Any, Any, Any, Any] = Handle(handler, {})
    setattr(handler, "enqueue", handle.enqueue)  # noqa: B010
    setattr(handler, "options", handle.options)  # noqa: B010


def job_type(handler: Callable[..., Any]) -> str:
    """The type of its jobs: its module's name, as the loader has it."""
    return handler.__module__.rpartition(".")[2]


def _is_whole(handler: Callable[..., Any]) -> bool:
    """Whether a single parameter named `payload` takes the whole payload."""
    parameters = inspect.signature(handler, eval_str=True).parameters.values()
    others = [p for p in parameters if p.annotation not in (Context, Event)]
    return [p.name for p in others] == ["payload"] and others[0].kind is not inspect.Parameter.VAR_KEYWORD
