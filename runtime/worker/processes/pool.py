"""A worker's children: one is forked ahead, the others are bound to one version of one function each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from runtime import log
from runtime.handlers.loader import Source
from runtime.handlers.policy import Policy
from runtime.handlers.spec import Spec
from runtime.jobs.failure import Crashed, Failure, ForkserverLost, HandlerFailed, LoadTimeout, OutOfMemory, failure
from runtime.settings import Settings
from runtime.worker.processes.admission import Admission, NoRoom
from runtime.worker.processes.child_handle import ChildHandle
from runtime.worker.processes.output import Sink
from runtime.worker.processes.spawner import Spawner

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
KILL_AFTER = 2.0  # seconds that a handler has to leave after SIGTERM
LOAD_WITHIN = 10.0
_AGAIN = 0.5  # seconds between losing the fork server and handing the attempt back


class LoadFailed(Exception):
    """A module that did not load; the text is its traceback."""


class Pool:
    """Runs attempts in children, as many at once as the settings allow; idle children stay warm."""

    def __init__(self, settings: Settings) -> None:
        self.admission = Admission(settings.processes)
        self._settings = settings
        self._spawner = Spawner()
        self._idle: OrderedDict[ChildHandle, None] = OrderedDict()  # the one that has been idle longest first
        self._busy: set[ChildHandle] = set()
        self._spare: asyncio.Task[ChildHandle] | None = None
        self._closed = False
        self._keys: frozenset[tuple[str, str]] | None = None  # of the versions that are deployed

    async def load(self, source: Source) -> Spec:
        """Loads a module in a child and returns the spec of its function. If the function runs in processes, a
        child that has loaded it is kept, and runs the first attempt.

        Raises LoadFailed, LoadTimeout, Crashed, OutOfMemory.
        """
        child = await self._take_spare()
        keep = False
        try:
            spec = await self._load(child, source, None)
            # memory bounds are known only now: a function with one loads again, in a child that has it from then on
            policy = spec.policy
            keep = spec.isolation == "process" and policy.memory is None and policy.recycle_above is None
        finally:
            if keep:
                self._put_back(child)
            else:
                self._retire(child)
        if keep:
            return spec
        if spec.isolation == "process":
            self._put_back(await self._bound(spec))
        return spec

    async def run(
        self, spec: Spec, job: list[Any], payload: bytes, sink: Sink, begun: Callable[[], None]
    ) -> list[Any]:
        """The answer of a handler that completed: its value, and what it starts; calls `begun` as it starts.

        On cancellation the handler is told to stop, and killed if it does not; one that completes
        nevertheless has completed. Raises HandlerFailed, ForkserverLost and NoRoom.
        """
        await self.admission.take(patient=spec.policy.rate is not None)  # its start has been counted
        try:
            return await self._run(spec, job, payload, sink, begun)
        finally:
            self.admission.give_back()

    async def _run(
        self, spec: Spec, job: list[Any], payload: bytes, sink: Sink, begun: Callable[[], None]
    ) -> list[Any]:
        try:
            child = await self._bound(spec)
        except ForkserverLost:  # the attempt has not begun, so this is no crash of its own: it may wait elsewhere
            await asyncio.sleep(_AGAIN)
            raise NoRoom from None
        except (LoadFailed, LoadTimeout, Crashed, OutOfMemory) as error:
            raise HandlerFailed(failure(error, spec.policy.retry)) from None
        child.attempts += 1
        started = time.perf_counter()
        child.output.switch(sink)
        begun()
        answer = None
        try:
            answer = await child.ask(("done", "failed"), "run", job, payload)
        except asyncio.CancelledError:
            answer = await self._stopped(child)
            if answer is None or answer[0] != "done":
                raise
        except ForkserverLost:
            raise
        except (Crashed, OutOfMemory) as error:
            raise HandlerFailed(failure(error, spec.policy.retry, child.output.last_lines)) from None
        finally:
            self.admission.record_duration(time.perf_counter() - started)
            child.output.switch(None)
            self._after(child, spec, answer)
        if answer[0] == "failed":
            raise HandlerFailed(Failure(*answer[1]))
        return answer[1:3]

    def keep_only(self, keys: Collection[tuple[str, str]]) -> None:
        """Ends idle children of versions that run no more."""
        self._keys = frozenset(keys)
        for child in [child for child in self._idle if child.key not in self._keys]:
            self._retire(child)

    def kill(self) -> None:
        """Ends every child at once; from any thread."""
        self._spawner.kill()

    async def close(self) -> None:
        """Ends every child."""
        self._closed = True
        if self._spare is not None:
            self._spare.cancel()
            with contextlib.suppress(asyncio.CancelledError, Crashed):
                await self._spare
        self._spawner.close()

    # choosing a child

    async def _bound(self, spec: Spec) -> ChildHandle:
        """A child that has loaded the function, and is busy now."""
        key = (spec.name, spec.version)
        for child in reversed(self._idle):
            if child.key == key:
                del self._idle[child]
                self._busy.add(child)
                return child
        child = await self._take_spare()
        try:
            await self._load(child, spec.source, spec.policy)
        except BaseException:
            self._retire(child)
            raise
        return child

    async def _take_spare(self) -> ChildHandle:
        """A child that has loaded nothing; where there are enough, the one idle longest makes room for it."""
        if len(self._idle) + len(self._busy) >= self._settings.processes and self._idle:
            self._retire(next(iter(self._idle)))
        ahead, self._spare = self._spare, None
        child = None
        if ahead is not None:
            try:
                child = await asyncio.shield(ahead)
            except asyncio.CancelledError:
                self._spare = self._spare or ahead
                raise
            except Crashed:
                pass  # the next one says why
        if child is None or child.ended.done():
            child = await self._spawner.fork()
        self._busy.add(child)
        child.ended.add_done_callback(partial(self._forget, child))
        if not self._closed and self._spare is None:
            self._spare = asyncio.get_running_loop().create_task(self._spawner.fork())
            self._spare.add_done_callback(lambda task: task.cancelled() or task.exception())
        return child

    async def _load(self, child: ChildHandle, source: Source, policy: Policy | None) -> Spec:
        settings = self._settings
        memory = None if policy is None else policy.memory
        options = {
            "name": source.name,
            "path": source.path,
            "code": source.code,
            "version": source.version,
            "memory": memory,
            "weigh": policy is not None and policy.recycle_above is not None,
            "files": str(settings.files_dir.absolute()),
            "result_limit": settings.result_limit,
            "level": _LEVELS[settings.log_level],
        }
        child.memory = memory
        child.output.switch(_Loading(source))
        try:
            async with asyncio.timeout(LOAD_WITHIN):
                answer = await child.ask(("loaded", "broken"), "load", options)
        except TimeoutError:
            raise LoadTimeout(f"its import did not end within {LOAD_WITHIN:g} s") from None
        finally:
            child.output.switch(None)
        if answer[0] == "broken":
            raise LoadFailed(answer[1])
        child.key = (source.name, source.version)
        return Spec.of(answer[1], source)

    # what becomes of it

    def _after(self, child: ChildHandle, spec: Spec, answer: list[Any] | None) -> None:
        self._busy.discard(child)
        if answer is None or child.terminated or child.ended.done():
            self._retire(child)
            return
        resident, leftovers = answer[-2:]
        policy = spec.policy
        worn = child.attempts >= (policy.recycle or self._settings.recycle)
        grown = policy.recycle_above is not None and resident > policy.recycle_above
        starved = answer[0] == "failed" and answer[1][3].startswith(OutOfMemory.__name__)
        old = self._keys is not None and child.key not in self._keys
        if worn or grown or starved or old or leftovers or self._closed:
            self._retire(child)
        else:
            self._put_back(child)

    def _put_back(self, child: ChildHandle) -> None:
        self._busy.discard(child)
        if not child.ended.done():
            self._idle[child] = None

    def _forget(self, child: ChildHandle, _: Any = None) -> None:
        self._idle.pop(child, None)
        self._busy.discard(child)

    def _retire(self, child: ChildHandle) -> None:
        self._forget(child)
        if not child.ended.done():
            child.kill()

    async def _stopped(self, child: ChildHandle) -> list[Any] | None:
        """Its answer if it comes in time; a further cancellation does not interrupt this."""
        stopping = asyncio.get_running_loop().create_task(self._stop(child))
        while not stopping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        return stopping.result()

    async def _stop(self, child: ChildHandle) -> list[Any] | None:
        child.terminate()
        with contextlib.suppress(TimeoutError, Crashed, OutOfMemory):
            await asyncio.wait_for(child.answered(), KILL_AFTER)
        if not child.ended.done():
            child.kill()
            await child.ended
        return child.answer


class _Loading:
    """Output of a module during import: it belongs to the function, not to a job."""

    def __init__(self, source: Source) -> None:
        self._log = log.get("worker").bind(function=source.name, version=source.version)

    def progress(self, report: dict[str, Any]) -> None:
        """There is none."""

    def emit(self, packed: bytes) -> None:
        """There is none."""

    def log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        log.tell(self._log, level, event, fields)
