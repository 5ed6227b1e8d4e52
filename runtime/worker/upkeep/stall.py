"""Ending a worker whose event loop a handler does not let run: its timeout cannot reach it, and all others wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence

from runtime import log
from runtime.jobs.failure import Timeout
from runtime.store.attempts import Settlement
from runtime.store.connect import SyncRedis
from runtime.store.lanes import Lanes
from runtime.values import ids
from runtime.worker import contained
from runtime.worker.attempt import Attempt
from runtime.worker.runner import failed

_PATIENCE = 5.0  # seconds without a turn of the loop, and beyond a timeout
_LONGEST = 300.0  # seconds without a turn where no attempt explains it
_STATUS = 1


class Stall:
    """Made on the event loop; `look` is called by a thread from time to time, and makes an end where it must."""

    def __init__(self, lanes: Mapping[int, Lanes], held: Mapping[str, Attempt]) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lanes = lanes
        self._held = held
        self._turned = time.monotonic()

    def look(self, client: SyncRedis) -> None:
        """Ends the process where the loop stands still and will not go on in time. Raises StoreError.

        The attempt that holds it up has timed out; the others are handed back at no cost.
        """
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker ends
            self._loop.call_soon_threadsafe(self._turn)
        silent = time.monotonic() - self._turned
        if silent < _PATIENCE:
            return
        culprit = self._culprit()
        if culprit is None and silent < _LONGEST:
            return
        if culprit is not None and time.perf_counter() - culprit.started < _allowed(culprit) + _PATIENCE:
            return
        self._end(client, culprit, silent)

    def _turn(self) -> None:
        self._turned = time.monotonic()

    def _culprit(self) -> Attempt | None:
        """The attempt whose handler runs now, by its task or by one that it started."""
        task = asyncio.current_task(self._loop)
        if task is None:
            return None
        owner = contained.owner(task)
        running = list(self._held.values())
        return next((one for one in running if one.task is task or one.taken is owner), None)

    def _end(self, client: SyncRedis, culprit: Attempt | None, silent: float) -> None:
        frame = sys._current_frames().get(self._thread)
        log.get("worker").error(
            "worker.stalled",
            **({} if culprit is None else log.names(culprit.taken)),
            seconds=round(silent, 1),
            why="a handler does not let the event loop run; the worker ends, others go on with its jobs",
            where="".join(traceback.format_stack(frame)[-3:]),
        )
        ends: dict[int, list[Settlement]] = {}
        for attempt in list(self._held.values()):
            end = _timed_out(attempt) if attempt is culprit else Settlement(attempt.taken, "released")
            ends.setdefault(ids.shard_of(attempt.taken.id), []).append(end)
        for shard, some in ends.items():
            self._settle(client, shard, some)
        sys.stdout.flush()
        os._exit(_STATUS)

    def _settle(self, client: SyncRedis, shard: int, ends: Sequence[Settlement]) -> None:
        self._lanes[shard].fall_silent(client)  # what is handed back must not come to this worker again
        for start in range(0, len(ends), 100):
            self._lanes[shard].settle_from_thread(client, ends[start : start + 100])


def _allowed(attempt: Attempt) -> float:
    return attempt.function.policy.timeout


def _timed_out(attempt: Attempt) -> Settlement:
    seconds = _allowed(attempt)
    error = Timeout(f"did not end within {seconds:g} s, and let nothing else run: its worker was ended")
    return failed(attempt.function, attempt.taken, error)
