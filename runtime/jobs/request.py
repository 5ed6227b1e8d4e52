"""A request for a new job, checked and made ready to be stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict, get_args

from runtime.errors import JobInvalid
from runtime.jobs import callback, tags
from runtime.jobs.retry import Retry
from runtime.values import codec, durations

MAX_ATTEMPTS = 1000
MAX_FOLLOW_UPS = 100
MAX_THEN_DEPTH = 20
MAX_BROUGHT = 1000  # follow-ups and callbacks of one request
MAX_STARTED = 100_000  # jobs that one attempt starts
MAX_STARTED_BYTES = 64 << 20


On = Literal["completed", "failed", "cancelled", "settled"]
ONS: tuple[On, ...] = get_args(On)


class Options(TypedDict, total=False):
    """Options of a job; see `JobRequest`."""

    priority: str | int | None
    max_attempts: int | None
    run_at: int | str | datetime | None
    delay: float | str | None
    ttl: float | str | None
    start_before: int | str | datetime | None
    backoff: Any
    unique: str | None
    then: Sequence[JobRequest]
    on: On | None
    callback: Any
    tags: Mapping[str, str] | str | None


class ClientOptions(Options, total=False):
    """What a client may ask for besides."""

    key: str | None


@dataclass(slots=True)
class JobRequest:
    """A job as its caller requests it; None: as the function's policy says.

    `run_at`: Unix ms, RFC 3339 or a datetime. `delay`, `ttl`: seconds, or text such as "10m".
    `start_before`: as `run_at`; a job not started by then fails as expired. `backoff`: seconds, or
    {"base", "cap"}. `unique`: "payload" or a key. `then`: jobs that start when this one has
    completed, or in another status that their `on` names; in their payloads, {"$job": "result"} stands for
    a field of this job, {"$job": ["id", "result"]} for an object of some. `callback`: a URL that is told when
    this job settles, {"url", "on"}, or a list of these. `tags`: what it belongs to, such as
    {"order": "o1"}. `key`: an idempotency key. `signer`: the access key whose own secret signs its callbacks; a
    gateway sets it.
    """

    type: str
    payload: Any = None
    priority: str | int | None = None
    max_attempts: int | None = None
    run_at: int | str | datetime | None = None
    delay: float | str | None = None
    ttl: float | str | None = None
    start_before: int | str | datetime | None = None
    backoff: Any = None
    unique: str | None = None
    then: Sequence[JobRequest] = field(default=())
    on: On | None = None
    callback: Any = None
    tags: Mapping[str, str] | str | None = None
    key: str | None = None
    signer: str | None = None

    def __post_init__(self) -> None:
        """Raises JobInvalid for a request that is wrong in itself, wherever it was made."""
        if not isinstance(self.type, str):
            raise _wrong("type", "is the name of a function")
        if self.then:
            self.then = tuple(self.then) if isinstance(self.then, Iterable) else (self.then,)
            if not all(isinstance(request, JobRequest) for request in self.then):
                raise _wrong("then", "is a list of jobs, each a JobRequest")

    @property
    def plain(self) -> bool:
        """Whether it has only type, payload, priority and attempts, as nearly every request."""
        return (
            self.key is None
            and self.unique is None
            and self.delay is None
            and self.run_at is None
            and self.ttl is None
            and self.start_before is None
            and self.backoff is None
            and self.callback is None
            and not self.tags
            and not self.then
        )

    @classmethod
    def parse(cls, body: Mapping[str, Any], key: str | None = None, depth: int = 0) -> JobRequest:
        """From what a client sent, `job_type` and `input` understood. Raises JobInvalid."""
        if unknown := body.keys() - _FIELDS:
            raise JobInvalid(
                f"a job has {', '.join(sorted(_FIELDS))}",
                [{"field": f"/{name}", "message": "is not a field of a job"} for name in sorted(unknown)],
            )
        kind = _either(body, "type", "job_type")
        if not isinstance(kind, str):
            problem = "is required" if kind is None else "is the name of a function"
            raise _wrong("type", problem, 'name the function, such as {"type": "echo"}')
        options = {name: body[name] for name in body if name in OPTIONS and body[name] is not None}
        attempts = options.get("max_attempts")
        if isinstance(attempts, float) and attempts.is_integer():
            options["max_attempts"] = int(attempts)  # 1.0 is an integer of JSON too
        if "then" in options:
            options["then"] = _following(options["then"], depth + 1)
        return cls(kind, _either(body, "payload", "input"), key=key, **options)

    def as_options(self) -> dict[str, Any]:
        """What makes the same request anew."""
        options = {name: value for name in OPTIONS if (value := getattr(self, name)) is not None and name != "then"}
        options |= {"type": self.type, "payload": self.payload, "key": self.key}
        return {**options, "then": [request.as_options() for request in self.then]} if self.then else options

    def digest(self) -> str:
        """What an idempotency key stands for: the request without the key."""
        parts = [self.type, self.payload, *(getattr(self, name) for name in OPTIONS if name != "then")]
        parts.append([request.digest() for request in self.then])
        return _digest(codec.pack(parts))

    def check(self) -> None:
        """Raises JobInvalid where a field is wrong in itself."""
        if self.priority is not None and (
            isinstance(self.priority, bool) or not isinstance(self.priority, (str, int))
        ):
            raise _wrong("priority", "is a lane's name or number")
        attempts = self.max_attempts
        if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS):
            raise _wrong("max_attempts", f"is a number from 1 to {MAX_ATTEMPTS}")
        if self.unique is not None and (not isinstance(self.unique, str) or not self.unique):
            raise _wrong("unique", 'is "payload" or a key')
        if self.backoff is not None:
            _read("backoff", Retry.parse, self.backoff)
        if self.callback is not None:
            _read("callback", callback.parse, self.callback)
        if self.tags is not None:
            _read("tags", tags.parse, self.tags)
        if self.on is not None and self.on not in ONS:
            raise _wrong("on", f"is one of {', '.join(ONS)}")
        for name in ("key", "unique"):
            if (text := getattr(self, name)) is not None:
                _read(name, _valid, text)

    def brought(self, depth: int = 0) -> int:
        """How many jobs it brings besides its own: follow-ups, theirs, and callbacks. Raises JobInvalid."""
        if depth > MAX_THEN_DEPTH:
            raise _wrong("then", f"goes {MAX_THEN_DEPTH} jobs deep at most")
        count = 0 if self.callback is None else len(_read("callback", callback.parse, self.callback))
        count += sum(1 + follow_up.brought(depth + 1) for follow_up in self.then)
        if count > MAX_BROUGHT:
            raise _wrong("then", f"and callback bring {MAX_BROUGHT:,} jobs at most")
        return count

    def terms(self, ttl: float | None, max_waiting: int | None) -> dict[str, Any] | None:
        """What the script that stores the job reads once, as in NewJob. Raises JobInvalid."""
        terms: dict[str, Any] = {}
        if self.run_at is not None and self.delay is not None:
            raise _wrong("delay", "cannot be given with run_at", "give run_at or delay")
        if self.run_at is not None:
            terms["run_at"] = _read("run_at", durations.unix_ms, self.run_at)
        if self.delay is not None:
            terms["delay"] = int(_read("delay", durations.seconds, self.delay) * 1000)
        if self.start_before is not None:
            terms["start_before"] = _read("start_before", durations.unix_ms, self.start_before)
        elif self.ttl is not None:
            terms["ttl"] = int(_read("ttl", durations.seconds, self.ttl) * 1000)
        elif ttl is not None:
            terms["ttl"] = int(ttl * 1000)
        if max_waiting is not None:
            terms["max_waiting"] = max_waiting
        if self.key is not None:
            if not 1 <= len(self.key) <= 512:
                raise _wrong("key", "has 1 to 512 characters", "an idempotency key has 1 to 512 characters")
            terms["key"], terms["digest"] = _digest(self.key.encode()), _read("key", _digest_of, self)
        return terms or None

    def extras(self, payload: bytes, unique: str | None, ckey: str | None, *, timed: bool) -> dict[str, Any]:
        """What the job's record keeps beside the usual. Raises JobInvalid."""
        extras: dict[str, Any] = {}
        if timed:
            extras["timed"] = True  # tells the script that takes it to look for when it expires
        if self.backoff is not None:
            backoff = _read("backoff", Retry.parse, self.backoff)
            extras["backoff"] = (backoff.base, backoff.cap)
        if self.tags:
            extras["tags"] = tags.packed(tags.parse(self.tags))
        unique = self.unique if self.unique is not None else unique
        if unique is not None:
            extras["unique"] = _digest(payload) if unique == "payload" else unique_digest(unique)
        if ckey is not None:
            value = self.payload.get(ckey) if isinstance(self.payload, dict) else None
            extras["ckey"] = _digest(codec.pack(value))
        return extras


OPTIONS = (  # of a job, by the names of their fields
    "priority",
    "max_attempts",
    "run_at",
    "delay",
    "ttl",
    "start_before",
    "backoff",
    "unique",
    "then",
    "on",
    "callback",
    "tags",
)
_FIELDS = frozenset(("type", "job_type", "payload", "input", *OPTIONS))


def check_started_count(count: int) -> None:
    """Raises JobInvalid where an attempt that has asked for so many jobs and events asks for another."""
    if count >= MAX_STARTED:
        message = f"one attempt starts at most {MAX_STARTED:,} jobs; start some that start the others"
        raise JobInvalid(message, [{"field": "", "message": message}])


def check_started(octets: int) -> None:
    """Raises JobInvalid for more bytes than the jobs that one attempt starts may have."""
    if octets > MAX_STARTED_BYTES:
        message = f"the jobs that one attempt starts have at most {MAX_STARTED_BYTES >> 20} MiB in all"
        raise JobInvalid(f"{message}; pass large data by reference", [{"field": "/payload", "message": message}])


def _following(value: Any, depth: int) -> list[JobRequest]:
    if depth > MAX_THEN_DEPTH:
        raise _wrong("then", f"goes {MAX_THEN_DEPTH} jobs deep at most")
    if not isinstance(value, list) or len(value) > MAX_FOLLOW_UPS or not all(isinstance(g, dict) for g in value):
        raise _wrong("then", f"is a list of up to {MAX_FOLLOW_UPS} jobs", 'such as "then": [{"type": "echo"}]')
    return [JobRequest.parse(job, depth=depth) for job in value]


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError) as error:
        raise _wrong(name, str(error)) from None


def _wrong(name: str, message: str, detail: str | None = None) -> JobInvalid:
    return JobInvalid(detail or f"{name}: {message}", [{"field": f"/{name}", "message": message}])


def _either(body: Mapping[str, Any], name: str, alias: str) -> Any:
    if name in body and alias in body and body[name] != body[alias]:
        raise _wrong(alias, f"differs from {name}", f"{alias} is another word for {name}: give one of them")
    return body[name] if name in body else body.get(alias)


def _valid(text: Any) -> None:
    """Raises ValueError for what is no text, or not valid Unicode."""
    if not isinstance(text, str):
        raise ValueError("is text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None


def unique_digest(key: str) -> str:
    """What stands for a unique key in the store. Raises UnicodeEncodeError for a lone surrogate."""
    return _digest(b"key:" + key.encode())


def _digest_of(request: JobRequest) -> str:
    return request.digest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
