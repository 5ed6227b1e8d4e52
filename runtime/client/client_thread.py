"""An async client on an event loop in a thread of its own, for callers that have no loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, NamedTuple, TypeVar

from runtime.client.client import Lanework
from runtime.errors import StoreUnavailable

Answer = TypeVar("Answer")


class _Running(NamedTuple):
    """A client on an event loop in a thread of this process."""

    loop: asyncio.AbstractEventLoop
    selector: selectors.BaseSelector
    thread: threading.Thread
    client: Lanework


class ClientThread:
    """Threads may share one. It starts with the first call, and once more in a process that is forked."""

    def __init__(self, open_client: Callable[[], Lanework]) -> None:
        self._open = open_client
        self._running: _Running | None = None
        self._lock = threading.Lock()
        _clients.add(self)

    def do(self, call: Callable[[Lanework], Coroutine[Any, Any, Answer]]) -> Answer:
        """The call's answer; whoever interrupts the wait for it, as Ctrl-C does, ends the call."""
        with self._lock:  # so that none comes to a loop that has been stopped
            running = self._running = self._running or _start(self, self._open)
            if threading.current_thread() is running.thread:
                raise RuntimeError("LaneworkSync was called by what one of its own calls was given; call it before")
            answer = asyncio.run_coroutine_threadsafe(call(running.client), running.loop)
        try:
            return answer.result()
        except CancelledError:
            raise StoreUnavailable("the client was closed meanwhile") from None
        except BaseException:
            answer.cancel()
            raise

    def each(self, generate: Callable[[Lanework], AsyncGenerator[Answer]]) -> Iterator[Answer]:
        async def made(client: Lanework) -> AsyncGenerator[Answer]:
            return generate(client)

        async def following(_: Lanework) -> Answer | None:
            return await anext(events, None)

        events = self.do(made)
        running = self._running
        try:
            while (event := self.do(following)) is not None:
                yield event
        finally:  # it may be collected on the loop's own thread, or as the process ends: nothing is waited for
            if running is not None and running is self._running:
                with contextlib.suppress(RuntimeError):
                    running.loop.call_soon_threadsafe(_closing, running.loop, events)

    def close(self) -> None:
        """Closes the client; calls under way raise StoreUnavailable. The next call would open a new one."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            _stop(running.loop)
            running.thread.join()


_clients: weakref.WeakSet[ClientThread] = weakref.WeakSet()
_inherited: list[_Running] = []  # of the process that this one was forked from: nothing of them may be finalised


def _start(owner: ClientThread, open_client: Callable[[], Lanework]) -> _Running:
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    client = open_client()
    thread = threading.Thread(target=_run, args=(loop, client), name="lanework", daemon=True)
    thread.start()
    weakref.finalize(owner, _stop, loop)  # for one that is never closed; at the end of the process too
    return _Running(loop, selector, thread, client)


def _run(loop: asyncio.AbstractEventLoop, client: Lanework) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_wind_up(client))
        loop.close()


async def _wind_up(client: Lanework) -> None:
    """Ends what is under way."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await client.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it has stopped before
        loop.call_soon_threadsafe(loop.stop)


def _closing(loop: asyncio.AbstractEventLoop, events: AsyncGenerator[Any]) -> None:
    task = loop.create_task(events.aclose())
    _closes.add(task)
    task.add_done_callback(_closes.discard)


_closes: set[asyncio.Task[None]] = set()


def _after_fork() -> None:
    """No thread comes along with a fork. What the parent listens with is shared: it must not hear of what is closed
    here, and locks may have been held."""
    for client in _clients:
        client._lock = threading.Lock()
        running, client._running = client._running, None
        if running is not None:
            _inherited.append(running)
            if hasattr(running.selector, "fileno"):
                nothing = os.open(os.devnull, os.O_RDONLY)
                os.dup2(nothing, running.selector.fileno())
                os.close(nothing)


os.register_at_fork(after_in_child=_after_fork)
