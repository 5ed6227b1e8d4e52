"""Threads, for `def` handlers that asked for them (`isolation="thread"`)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from runtime.jobs.failure import Exited

Answer = TypeVar("Answer")


async def aside(call: Callable[..., Answer], *arguments: Any) -> Answer:
    """What `call` returns, run on a daemon thread: a call that hangs does not keep the process alive.

    Raises what it raises; what would end a process is raised as Exited.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()

    def tell(settle: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            settle(value)

    def work() -> None:
        outcome: tuple[Callable[[Any], None], Any]
        try:
            outcome = done.set_result, call(*arguments)
        except StopIteration as error:  # a Future cannot hold it
            outcome = done.set_exception, RuntimeError(f"it raised StopIteration: {error}")
        except Exception as error:
            outcome = done.set_exception, error
        except BaseException as error:
            outcome = done.set_exception, Exited(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the result no longer wanted
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=work, name="aside", daemon=True).start()
    return await done


class Threads:
    """One thread for each attempt under way. A thread cannot be killed: one that ignores
    `ctx.cancelled` goes on after its attempt was given up."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="attempt")

    async def run(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """The handler's result; cancelling gives the attempt up."""
        call = partial(contextvars.copy_context().run, self._call, handler, arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Begins nothing more; handlers that cannot be stopped go on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return handler(**arguments)
        except StopIteration as error:  # a Future cannot hold it
            raise RuntimeError(f"handler raised StopIteration: {error}") from error
