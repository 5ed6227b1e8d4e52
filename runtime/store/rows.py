"""The rows that scripts take and give, by position; Lua has the same names, and a test compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

_ENTRY = 1024  # bytes that take the server as long as adding an entry to a stream does


class FollowUp(NamedTuple):
    """A job that starts when the one that it follows has settled.

    `on`: in which status: `settled` for any, else some of `completed`, `failed` and `cancelled` with commas between
    them. `parts`: where its payload tells of that job: bytes, and between them a field's name or a list of names,
    for an object of these; else nil. `limit`: bytes of the payload that these make.
    """

    job: NewJob
    on: str
    parts: Sequence[Any] | None = None
    limit: int | None = None


class NewJob(NamedTuple):
    """A job to be stored. `payload` is packed.

    `terms`: read once, when it is stored: `run_at` (Unix ms) or `delay` (ms); `start_before` (Unix ms) or `ttl`
    (ms, from when it may start); `key` and `digest` (idempotency); `max_waiting`. `extras`: what its record
    keeps, packed by `codec.pack_batch`: `timed` (it expires), `tick` (when its schedule names it), `backoff`,
    `ckey` (its concurrency key), `unique` (a digest), `keep` (ms that its settled record stays), `then`
    (FollowUps), `event` (the attributes of the event that brought it, packed), `trace` (traceparent and
    tracestate), `tags` (each by its digest), `secret` (what hides fields of its payload), `join` (the job whose
    follow-up waits for this one).
    """

    id: str
    type: str
    lane: str
    payload: bytes
    max_attempts: int
    terms: dict[str, Any] | None = None
    extras: bytes | None = None


class Ended(NamedTuple):
    """An attempt's end, for `settle`.

    `value`: the result (completed) or the error (retry, failed, lost), packed; else empty. `delay`: ms until a
    retry is due. `keep`: ms that the settled record stays. The rest is nil for nearly all: `has_extras`: whether
    its record has `extras`. `busy`: the limit that the attempt counts for. `children`: jobs that start if it
    completed; `after`: one that starts when they have settled. `progress`: its last report, packed, where the
    record may not have it. `staged`: how many parts of further children it has staged. `emitted`: what it has
    emitted and logged, where the server may not have it; empty where it has.
    """

    id: str
    type: str
    lane: str
    entry: bytes
    attempt: int
    outcome: str
    value: bytes
    delay: int
    keep: int
    has_extras: bool | None = None
    busy: str | None = None
    children: Sequence[NewJob] | None = None
    after: NewJob | None = None
    progress: bytes | None = None
    staged: int | None = None
    emitted: Emitted | None = None


class Started(NamedTuple):
    """An attempt that `take` gives; `busy` and `extras` are present if either is set."""

    type: bytes
    lane: bytes
    entry: bytes
    id: bytes
    attempt: int
    payload: bytes
    max_attempts: int
    created: int
    spared: int
    busy: bytes = b""
    extras: bytes = b""


class Held(NamedTuple):
    """An attempt whose lease is renewed."""

    id: str
    type: str
    lane: str
    entry: bytes
    attempt: int


class Report(NamedTuple):
    """An attempt's progress, packed."""

    id: str
    type: str
    attempt: int
    progress: bytes


class Chunk(NamedTuple):
    """A part of an attempt's output, packed. `number`: from 1 on. `oldest`: the number of the first one kept."""

    number: int
    oldest: int
    value: bytes


class Line(NamedTuple):
    """What an attempt has logged, packed. `number`: from 1 on."""

    number: int
    value: bytes


class Emitted(NamedTuple):
    """What an attempt has emitted and logged."""

    id: str
    type: str
    attempt: int
    chunks: Sequence[Chunk] = ()
    lines: Sequence[Line] = ()

    @property
    def weight(self) -> int:
        """Its share of a call: bytes, and what writing an entry takes."""
        values = [chunk.value for chunk in self.chunks] + [line.value for line in self.lines]
        return sum(map(len, values)) + _ENTRY * len(values)


class Scan(NamedTuple):
    """Where the sweeper goes on in a lane: the cursor of XAUTOCLAIM."""

    type: str
    lane: str
    cursor: str


class Found(NamedTuple):
    """A job that the sweeper dealt with. `verdict`: retry, poison, cancelled or expired."""

    id: bytes
    type: bytes
    lane: bytes
    attempt: int
    worker: bytes
    verdict: bytes


class Limit(NamedTuple):
    """How a function's attempts are held back, fleet-wide. `concurrency`: at once, 0 for no limit; `keyed`: 1 if
    for each concurrency key. `every`: µs from one start to the next, 0 for no limit, after a `burst`."""

    name: str
    concurrency: int
    keyed: int
    every: int
    burst: int


class Past(NamedTuple):
    """An attempt in the record's `history`: Unix ms, the error packed or empty."""

    attempt: int
    started: int | None
    ended: int | None
    outcome: bytes
    worker: bytes
    error: bytes | None
    version: bytes


class Change(NamedTuple):
    """A job's new status, in an event; `progress`, `output` or `log` for what leaves the status as it is."""

    id: str
    type: str
    status: str
    attempt: int


class Order(NamedTuple):
    """An order to a worker about an attempt: `cancel` it."""

    verb: str
    id: str
    attempt: int


class Parked(NamedTuple):
    """An entry that waits for its concurrency key."""

    type: str
    lane: str
    entry: str
    id: str


class Seen(NamedTuple):
    """The job that an idempotency key stands for, and what was asked for with it."""

    id: str
    digest: str


class Unarchived(NamedTuple):
    """A settled job that history does not have yet. `shorter`: ms that its record is to stay, where that is shorter
    than the record may wait for history; else 0."""

    id: bytes
    shorter: int


class Archived(NamedTuple):
    """A job that history has, and whose record is to stay for `shorter` ms from its end."""

    id: str
    finished: int
    shorter: int


class Again(NamedTuple):
    """A failed job that is to run again, after so many ms."""

    id: str
    delay: int


class Deleted(NamedTuple):
    """A failed job that is to be deleted."""

    type: str
    id: str
