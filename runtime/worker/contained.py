"""What a handler does to the event loop or to the process stays with its attempt.

asyncio lets SystemExit and KeyboardInterrupt out of a task and so ends the loop, with everything that runs on it;
and a copy that a handler makes of the process (fork) would go on as the worker, on its sockets. So each coroutine
of a handler, its own and those of tasks that it starts, is stepped through here, and what it calls in the loop's
executor is called from here. Callbacks (`call_soon`) are not: what they end or copy is the worker's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from runtime import log
from runtime.jobs.failure import Exited

_armed = False  # whether this process is a worker's, so that a copy of it must not go on
_copy = False
_owners: WeakKeyDictionary[asyncio.Task[Any], log.Speaker] = WeakKeyDictionary()


def _become_a_copy() -> None:
    global _copy
    _copy = _armed


os.register_at_fork(after_in_child=_become_a_copy)


def end_copy() -> None:
    """Ends this process where it is a copy of the worker; what a copy does before that is its own."""
    if _copy:
        os._exit(0)


class Contained:
    """A handler's coroutine, to be awaited in place of it. Raises Exited where it would end the process."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, given = self._coroutine.send, None
        while True:
            try:
                waits_for = step(given)
            except StopIteration as ended:
                end_copy()
                return ended.value
            except (SystemExit, KeyboardInterrupt) as error:
                end_copy()
                raise Exited(error) from error
            except BaseException:
                end_copy()
                raise
            end_copy()
            try:
                given = yield waits_for
                step = self._coroutine.send
            except BaseException as error:
                given, step = error, self._coroutine.throw


def owner(task: asyncio.Task[Any]) -> log.Attempted | None:
    """The attempt whose handler has started a task."""
    speaker = _owners.get(task)
    return None if speaker is None else speaker.attempt


class Executor(ThreadPoolExecutor):
    """The loop's default, in which handlers call what blocks."""

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        return super().submit(_ends_copies, call, *given, **named)


def _ends_copies(call: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    try:
        return call(*given, **named)
    finally:
        end_copy()


@contextmanager
def copies_end() -> Iterator[None]:
    """Within, a copy that is made of this process ends where it would go on."""
    global _armed
    before, _armed = _armed, True
    try:
        yield
    finally:
        _armed = before


@contextmanager
def tasks_contained(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within, tasks that handlers start on the loop are contained."""
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        speaker = _speaker(more.get("context"))
        if speaker is None or not asyncio.iscoroutine(coroutine):
            return asyncio.Task(coroutine, loop=loop, **more)
        task = asyncio.Task(_awaited(coroutine), loop=loop, **more)
        _owners[task] = speaker
        # one that is cancelled before its first step never comes to the coroutine within
        task.add_done_callback(lambda _: coroutine.close())
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(before)


def _speaker(context: Any) -> log.Speaker | None:
    found: log.Speaker | None = log.SPEAKER.get() if context is None else context.get(log.SPEAKER)
    return found


async def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await Contained(coroutine)
