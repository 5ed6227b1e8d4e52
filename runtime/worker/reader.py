"""Taking work: as much as there are free slots for, and, when there is none, listening for the bell."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from runtime.errors import StoreError
from runtime.handlers.spec import Spec
from runtime.store.attempt_store import AttemptStore
from runtime.store.attempts import Offer, TakeReply
from runtime.store.connect import Redis
from runtime.worker.slots import Slots

# A bell may be lost with the worker that heard it; the sweeper rings again within a second or two.
LISTEN = 10.0
_LEAVE = 2.0


class Serving:
    """Functions by job type; they change as files do."""

    def __init__(self) -> None:
        self.functions: Mapping[str, Spec] = {}
        self.offer = Offer({})
        self._changed = asyncio.Event()

    def change(self, functions: Mapping[str, Spec]) -> bool:
        """Whether anything changed."""
        if functions == self.functions:
            return False
        self.functions = functions
        self.offer = Offer({name: function.version for name, function in functions.items()})
        self._changed.set()
        return True

    async def until_any(self) -> Mapping[str, Spec]:
        """The functions served; waits until there are any."""
        while not self.functions:
            self._changed.clear()
            await self._changed.wait()
        return self.functions


class Reader:
    """One shard's reader for a group; its `step` is for `keep_going`.

    `alone`: whether it is the group's only one. Then it may set slots aside while it listens, and
    what it hears of is taken in the same round trip.
    """

    def __init__(
        self, ear: str, store: AttemptStore, blocking: Redis, slots: Slots, serving: Serving, *, alone: bool
    ) -> None:
        """`ear`: names this one of the worker's readers, to wake it alone."""
        self._ear = ear
        self._store = store
        self._blocking = blocking
        self._slots = slots
        self._serving = serving
        self._alone = alone
        self._idle = False  # whether nothing waited, and the next step may listen
        self._due_in: float | None = None  # seconds until a job may start that is known of
        self._asked_at: float | None = None  # since when Redis owes an answer

    async def step(self) -> float:
        """Takes once; if nothing is waiting, listens for jobs first."""
        functions = await self._serving.until_any()
        if self._idle and not self._alone:
            self._asked()
            with self._alarm():
                await self._store.hear(self._blocking, functions, LISTEN, self._ear)
            self._asked_at = None
            self._idle = False
        # half of the slots at most, so that one half's round trip overlaps with the other half's work
        reserved = await self._slots.reserve((self._slots.room + 1) // 2)
        functions, offer = self._serving.functions, self._serving.offer  # attempts run what their take offered
        self._asked()
        if self._idle:
            with self._alarm():
                call = self._store.hear_and_take(self._blocking, reserved, offer, LISTEN, self._ear)
                await self._take(reserved, functions, call)
        else:
            await self._take(reserved, functions, self._store.take(reserved, offer))
        self._asked_at = None
        return 0.0

    @property
    def silent(self) -> float:
        """Seconds for which a call to Redis has gone unanswered."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def _asked(self) -> None:
        if self._asked_at is None:  # else a call before this one has failed
            self._asked_at = time.monotonic()

    @contextlib.contextmanager
    def _alarm(self) -> Iterator[None]:
        """Wakes the listener when the next job is due; the server's own timeout may be 100 ms late."""
        if self._due_in is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self._due_in, self._alarmed)
        try:
            yield
        finally:
            timer.cancel()

    def _alarmed(self) -> None:
        self._waking = asyncio.get_running_loop().create_task(self.wake())

    async def wake(self) -> None:
        """Ends its listening, if it listens."""
        with contextlib.suppress(StoreError):  # then it listens until it is over
            await self._store.wake(self._ear)

    async def _take(
        self, reserved: int, functions: Mapping[str, Spec], call: Coroutine[Any, Any, TakeReply]
    ) -> None:
        """A take in flight when the worker leaves is awaited: its jobs are ours."""
        task = asyncio.ensure_future(call)
        started = 0
        listened, self._idle = self._idle, False
        try:
            try:
                reply = await asyncio.shield(task)
            except asyncio.CancelledError:
                with contextlib.suppress(StoreError, TimeoutError):
                    if listened:
                        await self._store.wake(self._ear)
                    started = self._start(functions, await asyncio.wait_for(task, _LEAVE))
                raise
            started = self._start(functions, reply)
        finally:
            self._slots.give_back(reserved - started)
        if not reply.has_more:
            self._due_in = None if reply.due_in is None else reply.due_in / 1000
            self._idle = self._due_in is None or self._due_in > 0

    def _start(self, functions: Mapping[str, Spec], reply: TakeReply) -> int:
        for taken in reply.jobs:
            self._slots.start(taken, functions[taken.type])
        return len(reply.jobs)
