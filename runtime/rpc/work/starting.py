"""What the attempts of a remote worker start if they complete: jobs and events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runtime.errors import JobInvalid, LaneworkError
from runtime.jobs.event import Publication
from runtime.jobs.request import MAX_STARTED_BYTES, JobRequest, check_started_count
from runtime.rpc.encoding import decode, invalid
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.job_messages import job_request, json_object
from runtime.values import ids
from runtime.worker.attempt import Attempt
from runtime.worker.starts import patiently

_LIMIT = f"{MAX_STARTED_BYTES >> 20} MiB"
Permit = Callable[[JobRequest | Publication], Awaitable[None]]


class Starting:
    """What all attempts of one worker have asked for; the gateway holds it until they end."""

    def __init__(self, permit: Permit) -> None:
        """`permit`: raises AccessForbidden for what the worker may not start."""
        self.permit = permit
        self.octets = 0

    def of(self, attempt: Attempt) -> AttemptStarting:
        return AttemptStarting(self, attempt)


class AttemptStarting:
    """What one attempt has asked for. What is wrong with it first fails the attempt, once it completes."""

    __slots__ = (
        "_all",
        "_attempt",
        "_error",
        "_follow_up",
        "_is_closed",
        "_numbers",
        "_octets",
        "_requested",
        "start_id",
    )

    def __init__(self, every: Starting, attempt: Attempt) -> None:
        self._all = every
        self._attempt = attempt
        self.start_id = ids.new_first(ids.shard_of(attempt.taken.id))
        self._numbers: set[int] = set()
        self._octets = 0
        self._requested: list[tuple[str, JobRequest | Publication]] = []
        self._follow_up: tuple[str, JobRequest] | None = None
        self._error: LaneworkError | None = None
        self._is_closed = False

    def add(self, message: pb.WorkRequest) -> None:
        """A start, or a publish."""
        if self._is_closed:
            return
        try:
            self._count(message.ByteSize())
            if message.WhichOneof("message") == "start":
                self._add_start(message.start)
            else:
                self._add_publish(message.publish)
        except LaneworkError as error:
            self._error = error
            self.close()

    async def finish(self) -> None:
        """Hands it to the attempt, which has completed. Raises what is wrong with it."""
        if self._error is not None:
            raise self._error
        for _, started in (*self._requested, *([self._follow_up] if self._follow_up else ())):
            await patiently(lambda started=started: self._all.permit(started))  # type: ignore[misc]
        self._attempt.requested, self._attempt.follow_up = self._requested, self._follow_up

    def close(self) -> None:
        """Holds nothing any longer, and takes no more."""
        self._is_closed = True
        self._all.octets -= self._octets
        self._octets = 0
        self._requested, self._follow_up = [], None

    def _count(self, octets: int) -> None:
        check_started_count(len(self._requested))
        if self._all.octets + octets > MAX_STARTED_BYTES:
            message = f"what the attempts of one remote worker start has at most {_LIMIT} at a time"
            raise JobInvalid(
                f"{message}; pass large data by reference", [{"field": "/payload", "message": message}]
            )
        self._octets += octets
        self._all.octets += octets

    def _add_start(self, start: pb.Start) -> None:
        started_id = self._id(start.number)
        if start.job.idempotency_key:
            raise invalid("idempotency_key", "is not for what an attempt starts: it cannot start twice")
        request = job_request(start.job, "")
        if not start.when_all_settled:
            self._requested.append((started_id, request))
        elif self._follow_up is not None:
            raise invalid("when_all_settled", "this attempt already has a follow-up; it can have only one")
        else:
            self._follow_up = started_id, request

    def _add_publish(self, publish: pb.Publish) -> None:
        event_id = self._id(publish.number)
        extensions = json_object("extensions", publish.extensions) if publish.extensions else {}
        data = decode(publish.data, publish.data_encoding, "data")
        source = publish.source or f"/functions/{self._attempt.taken.type}"
        published = Publication.of(event_id, publish.type, source, publish.subject or None, extensions, data)
        self._requested.append((event_id, published))

    def _id(self, number: int) -> str:
        try:
            started_id = ids.following(self.start_id, number)
        except ValueError:
            raise invalid("number", "counts from 0 on, to a million at most") from None
        if number in self._numbers:
            raise invalid("number", f"{number} was that of another: each has its own")
        self._numbers.add(number)
        return started_id
