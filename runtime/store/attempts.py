"""Messages between worker and store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from runtime.store.rows import Emitted, NewJob
from runtime.tracing import Trace
from runtime.values import codec

End = Literal["ended", "cancelled", "lost"]
_CHILD = 16_384  # bytes that take the server as long as starting a job does, and longer
_FEW = 1_000  # bytes of extras in which there are not many jobs
Outcome = Literal["completed", "retry", "failed", "cancelled", "released", "lost"]


@dataclass(slots=True)
class Taken:
    """An attempt that a worker holds. `spared`: how many attempts before it do not count."""

    type: str
    lane: str
    entry: bytes
    id: str
    attempt: int
    payload: bytes
    max_attempts: int
    created_at: int
    spared: int
    started_at: int
    busy: str = ""  # the limit that it counts for
    extras: bytes = b""  # of what was asked for with it, packed
    _found: dict[bytes, Any] | None = field(default=None, repr=False, compare=False)  # unpacked

    @property
    def backoff(self) -> tuple[float, float] | None:
        """The job's own base and cap in seconds, in place of its function's."""
        backoff = self._unpacked().get(b"backoff")
        return None if backoff is None else (backoff[0], backoff[1])

    def _unpacked(self) -> dict[bytes, Any]:
        """Packed for scripts: bytes and text are one there, and jobs in `then` have payloads that are no text."""
        if self._found is None:
            self._found = codec.unpack_stream(self.extras)[0] if self.extras else {}
        return self._found

    @property
    def tick(self) -> int | None:
        """When the schedule that made the job names it, in Unix ms."""
        return self._unpacked().get(b"tick")

    @property
    def event(self) -> dict[str, Any] | None:
        """The attributes of the event that brought the job."""
        packed = self._unpacked().get(b"event")
        return None if packed is None else codec.unpack(packed)

    @property
    def trace(self) -> Trace | None:
        """Where the job stands in a distributed trace."""
        found = self._unpacked().get(b"trace")
        return None if found is None else Trace(*(part.decode() for part in found))

    @property
    def following(self) -> int:
        """How many jobs may start when it has settled."""
        return 0 if len(self.extras) < _FEW else len(self._unpacked().get(b"then", ()))

    @property
    def tries(self) -> int:
        """Which of its `max_attempts` this attempt is, from 1."""
        return self.attempt - self.spared

    @property
    def waited(self) -> float:
        """Seconds that the entry waited in its lane: an entry's id begins with the ms of its making."""
        return max(0, self.started_at - int(self.entry.partition(b"-")[0])) / 1000


class Settlement(NamedTuple):
    """The end of an attempt. `value`: the packed result or error. `delay`: ms until a retry is due.

    `keep`: ms that the settled job is kept, None for as long as the settings say. `children`: jobs that
    start if it completed; `after`: one more, once all of them have settled. `progress`: the last report, packed,
    where the record may not have it. `staged`: how many parts of further children it has staged. `emitted`: what it
    has emitted and logged, if anything.
    """

    taken: Taken
    outcome: Outcome
    value: bytes = b""
    delay: int = 0
    keep: int | None = None
    children: Sequence[NewJob] = ()
    after: NewJob | None = None
    progress: bytes = b""
    staged: int = 0
    emitted: Emitted | None = None

    @property
    def plain(self) -> bool:
        return not (
            self.taken.extras
            or self.taken.busy
            or self.children
            or self.after
            or self.progress
            or self.staged
            or self.emitted
        )

    @property
    def weight(self) -> int:
        """Its share of a call: bytes, and what starting jobs takes. A call must not keep the server for long."""
        octets = len(self.value) + (self.emitted.weight if self.emitted else 0)
        if not self.children and not self.taken.extras:
            return octets
        return octets + _CHILD * (len(self.children) + self.taken.following)


class Offer:
    """The functions that a worker serves: job types with their versions, as takes name them."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        self.types = tuple(sorted(versions))
        self.text = "".join([",", *(f"{name}={versions[name]}," for name in self.types)])


class TakeReply(NamedTuple):
    """What a take gave: the attempts, ms until the next job is due (None: none is scheduled), and
    whether more may be waiting."""

    jobs: list[Taken]
    due_in: int | None
    has_more: bool


class Sweep(NamedTuple):
    """What a sweep did. `cursors`: where to go on, for each lane. `starting`: some of the completed jobs whose
    staged jobs have not all been started."""

    cursors: list[str]
    swept: list[Swept]
    starting: list[str]


class Swept(NamedTuple):
    """What the sweeper did to a job: handed back what a lost worker held (retry), settled it (poison,
    cancelled), or failed it because it had not started in time (expired)."""

    id: str
    type: str
    lane: str
    attempt: int
    worker: str
    verdict: str
