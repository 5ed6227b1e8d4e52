"""How a function's jobs are run, and the decorator that sets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from runtime.errors import FunctionInvalid
from runtime.handlers.handle import Mark, attach
from runtime.handlers.hooks import Signature
from runtime.handlers.schedule import Schedule
from runtime.jobs.built_in import NAMES
from runtime.jobs.event import check_subscription
from runtime.jobs.retry import Retry
from runtime.values import durations, sizes

MARK = "__lanework__"
MIN_MEMORY = 64 << 20
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")  # of a function

Isolation = Literal["loop", "thread", "process", "remote"]  # remote: of a worker that a gateway serves by gRPC
ISOLATIONS = ("loop", "thread", "process")

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The part of a policy that applies when a job is stored, and is published with the function.

    `concurrency`: how many attempts may run at once in the whole fleet, for each value of the payload's
    key `concurrency_key` where that is given. `rate`: how many may start in a time, such as "100/m".
    `max_waiting`: how many jobs may wait before more are refused. `ttl`: seconds within which a job must
    have started. `keep`: seconds for which a settled job is kept; 0 means the second that waiters need to
    see it. `unique`: "payload", or a key: while a job with an equal payload or the same key lives, a
    second one is not stored. `on_success`, `on_failure`: the function that gets the job, as the parameter `job`,
    once it has completed, or has failed. `on`: patterns of the types of events that it subscribes to, with `*` for
    any text; `where`: of these, the events with these attributes, patterns by name.
    """

    concurrency: int | None = None
    concurrency_key: str | None = None
    rate: str | None = None
    max_waiting: int | None = None
    ttl: float | None = None
    keep: float | None = None
    unique: str | None = None
    on_success: str | None = None
    on_failure: str | None = None
    on: list[str] = field(default_factory=list)
    where: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy(Bounds):
    """How a function's jobs are run, where the job itself does not say otherwise. Times in seconds.

    `lane`: None for the default lane. `timeout`: for one attempt. `aliases`: further job types that
    this function serves. `schedules`: when it runs by itself, and on which payload. `isolation`: where
    attempts run; None: `async def` on the worker's event loop, `def` in a process of its own.
    `memory`: bytes that such a process may allocate. `recycle`: attempts after which it is replaced;
    `recycle_above`: the resident bytes from which on it is. `hook`: the scheme by which providers sign, and what
    names its secret.
    """

    lane: str | None = None
    timeout: float = 300.0
    retry: Retry = field(default_factory=Retry)
    aliases: tuple[str, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    isolation: Isolation | None = None
    memory: int | None = None
    recycle: int | None = None
    recycle_above: int | None = None
    hook: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Raises FunctionInvalid."""
        self._check_numbers()
        for name in ("on_success", "on_failure"):
            if not _is_name(getattr(self, name)):
                raise FunctionInvalid(f"{name} is the name of a function, such as notify")
        if self.unique == "":
            raise FunctionInvalid('unique is "payload" or a key')
        if self.isolation not in (None, *ISOLATIONS):
            raise FunctionInvalid(f"isolation is one of {', '.join(ISOLATIONS)}")
        if self.memory is not None and self.isolation in ("loop", "thread"):
            raise FunctionInvalid('memory needs isolation="process": a ceiling holds for a process alone')

    def _check_numbers(self) -> None:
        if self.timeout <= 0:
            raise FunctionInvalid("timeout is a number of seconds above 0")
        for name in ("concurrency", "max_waiting", "recycle"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                raise FunctionInvalid(f"{name} is a number from 1 on")
        if self.concurrency_key is not None and self.concurrency is None:
            raise FunctionInvalid("concurrency_key needs concurrency: how many of each key may run at once")
        if self.memory is not None and self.memory < MIN_MEMORY:
            raise FunctionInvalid("memory is 64M or more: an interpreter with its libraries takes half of that")

    @classmethod
    def of(cls, packed: Mapping[str, Any]) -> Policy:
        """From what `asdict` made of one."""
        schedules = tuple(Schedule(**schedule) for schedule in packed["schedules"])
        nested = {"retry": Retry(**packed["retry"]), "aliases": tuple(packed["aliases"]), "schedules": schedules}
        nested["hook"] = tuple(packed["hook"]) if packed.get("hook") else None
        return cls(**{**packed, **nested})


def function(
    *,
    lane: str | None = None,
    timeout: float | str = 300.0,
    retry: Retry | int | None = None,
    aliases: tuple[str, ...] = (),
    schedule: str | Sequence[str] | Mapping[str, Any] = (),
    timezone: str = "UTC",
    concurrency: int | None = None,
    concurrency_key: str | None = None,
    rate: str | None = None,
    max_waiting: int | None = None,
    ttl: float | str | None = None,
    keep: float | str | None = None,
    unique: str | None = None,
    on_success: str | None = None,
    on_failure: str | None = None,
    isolation: Isolation | None = None,
    memory: int | str | None = None,
    recycle: int | str | None = None,
    hook: Signature | None = None,
    on: str | Sequence[str] = (),
    where: Mapping[str, str | Sequence[str]] | None = None,
) -> Mark:
    """Marks a module's handler and sets its policy (see `Policy`).

    Lengths of time are seconds or text such as "10m"; `retry` as a number means that many attempts; `schedule` is
    one cron expression, several, or a mapping from each to its jobs' payload. `memory` is bytes or text such as
    "512M"; `recycle` a number of attempts, or a size of its process such as "300M". `hook`: how providers sign what
    they send to `/hooks/NAME`. `on`: the events it subscribes to, such as "order.created" or "order.*", each of
    which becomes a job with the event's data as its payload; `where`: those with such attributes alone, such as
    {"source": "/shop/*"}. Raises FunctionInvalid.
    """
    try:
        if rate is not None:
            durations.rate(rate)
        crons = (schedule,) if isinstance(schedule, str) else schedule
        payloads = crons if isinstance(crons, Mapping) else dict.fromkeys(crons)
        types, filters = check_subscription(on, {} if where is None else where)
        policy = Policy(
            lane=lane,
            timeout=durations.seconds(timeout),
            retry=_retry(retry),
            aliases=tuple(aliases),
            schedules=tuple(Schedule(cron, timezone, payload) for cron, payload in payloads.items()),
            concurrency=concurrency,
            concurrency_key=concurrency_key,
            rate=rate,
            max_waiting=max_waiting,
            ttl=None if ttl is None else durations.seconds(ttl),
            keep=None if keep is None else durations.seconds(keep),
            unique=unique,
            on_success=on_success,
            on_failure=on_failure,
            isolation=isolation,
            memory=None if memory is None else sizes.octets(memory),
            recycle=recycle if isinstance(recycle, int) else None,
            hook=None if hook is None else _signature(hook),
            on=types,
            where=filters,
            recycle_above=sizes.octets(recycle) if isinstance(recycle, str) else None,
        )
    except ValueError as error:
        raise FunctionInvalid(str(error)) from None

    def mark(handler: Any) -> Any:
        setattr(handler, MARK, policy)
        attach(handler)
        return handler

    return mark


def _signature(hook: Any) -> tuple[str, str]:
    if not isinstance(hook, Signature) or not hook.scheme:
        raise FunctionInvalid('hook is a signature, such as StandardWebhook(secret="env:SHOP_SECRET")')
    return hook.scheme, hook.secret


def _is_name(value: Any) -> bool:
    return value is None or (isinstance(value, str) and NAME.fullmatch(value) is not None and value not in NAMES)


def _retry(value: Retry | int | None) -> Retry:
    if value is None:
        return Retry()
    return value if isinstance(value, Retry) else Retry(max_attempts=value)
