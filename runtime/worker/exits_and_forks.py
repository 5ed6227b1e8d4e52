"""What a handler does to the event loop or to the process stays with its attempt.

asyncio lets SystemExit and KeyboardInterrupt out of a task and so ends the loop, with everything that runs on it:
the tasks that a handler starts raise Exited in place of them. Callbacks (`call_soon`) are not contained: what they
end is the worker's.

A copy of the process that a handler makes (fork) would go on as a second worker, on the same sockets. So it is
ended when the step of the loop, or the call in a thread, that made it is over.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from runtime import log
from runtime.jobs.failure import Exited

# modules whose frames stand below what an event loop or a thread pool calls
_BELOW = ("asyncio.base_events", "asyncio.events", "asyncio.runners", "concurrent.futures.thread", "uvloop")
_TOOL = 4  # of sys.monitoring, one that no tool of its documentation has

_armed = False  # whether this process is a worker's, so that a copy of it must not go on
_owners: WeakKeyDictionary[asyncio.Task[Any], log.Speaker] = WeakKeyDictionary()


@contextmanager
def copies_end() -> Iterator[None]:
    """Within, a copy that is made of this process ends where it would go on."""
    global _armed
    before, _armed = _armed, True
    try:
        yield
    finally:
        _armed = before


def _be_a_copy() -> None:
    """Runs in the copy, and sees to its end; `multiprocessing` or the handler may end it sooner."""
    global _armed
    if not _armed:
        return
    _armed = False
    step, below = sys._getframe(), sys._getframe().f_back
    while below is not None and below.f_globals.get("__name__") not in _BELOW:
        step, below = below, below.f_back
    if sys.version_info >= (3, 12):
        _end_after(step)
    else:
        sys.setprofile(lambda frame, event, _: _watch(frame, event, step))


def _watch(frame: FrameType, event: str, step: FrameType) -> None:
    if event == "return" and frame is step:  # a coroutine that waits returns to the loop, too
        os._exit(0)
    if frame.f_globals.get("__name__") == "multiprocessing.process":  # it ends its copies
        sys.setprofile(None)


if sys.version_info >= (3, 12):

    def _end_after(step: FrameType) -> None:
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(_TOOL, "lanework")
        for event in (events.PY_RETURN, events.PY_YIELD, events.PY_UNWIND):
            sys.monitoring.register_callback(_TOOL, event, lambda code, *_: _end_if(code is step.f_code))
        sys.monitoring.set_local_events(_TOOL, step.f_code, events.PY_RETURN | events.PY_YIELD)
        sys.monitoring.set_events(_TOOL, events.PY_UNWIND)  # it has no local form

    def _end_if(over: bool) -> None:
        if over:
            os._exit(0)


os.register_at_fork(after_in_child=_be_a_copy)


@contextmanager
def tasks_contained(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within, tasks that handlers start on the loop are contained."""
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        context = options.get("context")
        speaker = log.SPEAKER.get() if context is None else context.get(log.SPEAKER)
        if speaker is None or not asyncio.iscoroutine(coroutine):
            return asyncio.Task(coroutine, loop=loop, **options)
        task = asyncio.Task(_contained(coroutine), loop=loop, **options)
        _owners[task] = speaker
        # one that is cancelled before its first step never comes to the coroutine within
        task.add_done_callback(lambda _: coroutine.close())
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(before)


def owner(task: asyncio.Task[Any]) -> log.Speaker | None:
    """The attempt whose handler has started a task."""
    return _owners.get(task)


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Raises Exited where the coroutine would end the process."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise Exited(error) from error
