"""How a role keeps going: its step again and again, with backoff while Redis is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from runtime import log
from runtime.errors import StoreError

_CAP = 5.0


async def keep_going(role: str, step: Callable[[], Awaitable[float]]) -> None:
    """Runs `step` until cancelled; it returns the seconds to wait before the next one.

    A StoreError is logged once and retried, at most 5 s apart; any other error ends the role.
    """
    failures = 0
    task = asyncio.current_task()
    while True:
        try:
            pause = await step()
        except StoreError as error:
            if not failures:
                log.get(role).warning("store.trouble", role=role, code=error.code, error=str(error))
            failures += 1
            pause = random.uniform(0.5, 1) * min(_CAP, 0.1 * 2 ** min(failures, 8))
        else:
            if failures:
                log.get(role).info("store.back", role=role, failures=failures)
            failures = 0
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # it arrived inside a call that turned it into an answer or an error
        if pause > 0:
            await asyncio.sleep(pause)
