"""Threads, for `def` handlers that asked for them (`isolation="thread"`)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class Threads:
    """One thread for each attempt under way. A thread cannot be killed: one that ignores
    `ctx.cancelled` goes on after its attempt was given up."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="attempt")
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """The handler's result; cancelling gives the attempt up."""
        call = partial(contextvars.copy_context().run, self._call, handler, arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> bool:
        """Stops; False where handlers that cannot be stopped are still at work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            return self._busy == 0

    def _call(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        with self._lock:
            self._busy += 1
        try:
            return handler(**arguments)
        except StopIteration as error:  # a Future cannot hold it
            raise RuntimeError(f"handler raised StopIteration: {error}") from error
        finally:
            with self._lock:
                self._busy -= 1
