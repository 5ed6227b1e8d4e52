"""What the attempts of remote workers start if they complete: jobs and events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from runtime.errors import JobInvalid, LaneworkError
from runtime.jobs.event import Publication
from runtime.jobs.request import MAX_STARTED_BYTES, JobRequest, check_started_count
from runtime.rpc.encoding import decode, invalid
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.guard import Permission
from runtime.rpc.job_messages import job_request, json_object
from runtime.settings import Settings
from runtime.values import ids
from runtime.worker.attempt import Attempt, Requested, Started
from runtime.worker.processes.admission import NoRoom
from runtime.worker.starts import patiently

HELD = 256 << 20  # bytes of what all attempts of a gateway's remote workers ask for, until they end
_TOGETHER = 100  # that are checked before others get their turn
_Message = tuple[str, pb.Start | pb.Publish]


class Starting:
    """What all attempts of a gateway's remote workers have asked for."""

    def __init__(self, settings: Settings) -> None:
        self.limit = settings.body_limit
        self.octets = 0


class AttemptStarting:
    """What one attempt has asked for, as it came: it is read once the attempt has completed.

    What is wrong with it first fails the attempt then; where only others hold too much, it is handed back.
    """

    __slots__ = (
        "_attempt",
        "_error",
        "_every",
        "_follow_up",
        "_is_closed",
        "_messages",
        "_numbers",
        "_octets",
        "_permission",
        "start_id",
    )

    def __init__(self, every: Starting, permission: Permission, attempt: Attempt) -> None:
        self._every = every
        self._permission = permission
        self._attempt = attempt
        self.start_id = ids.new_first(ids.shard_of(attempt.taken.id))
        self._numbers: set[int] = set()
        self._octets = 0
        self._messages: list[_Message] = []
        self._follow_up: tuple[str, pb.Start] | None = None
        self._error: LaneworkError | NoRoom | None = None
        self._is_closed = False

    def add(self, message: pb.WorkRequest) -> None:
        """A start, or a publish."""
        if self._is_closed:
            return
        try:
            self._count(message)
            if message.HasField("publish"):
                self._messages.append((self._id(message.publish.number), message.publish))
            else:
                self._add_start(message.start)
        except (LaneworkError, NoRoom) as error:
            self._error = error
            self.close()

    async def finish(self) -> None:
        """Hands it to the attempt, which has completed. Raises what is wrong with it, and AccessForbidden."""
        if self._error is not None:
            raise self._error
        if self._permission.is_limited:
            for number, (_, started) in enumerate(self._read()):
                await patiently(lambda started=started: self._permission.require(started))  # type: ignore[misc]
                if number % _TOGETHER == 0:
                    await asyncio.sleep(0)
        if self._follow_up is not None:
            follow_up: Requested = self._follow_up[0], self._request(self._follow_up[1])
            await patiently(lambda: self._permission.require(follow_up[1]))
            self._attempt.follow_up = follow_up
        self._attempt.requested = self._read() if self._messages else ()

    def close(self) -> None:
        """Holds nothing any longer, and takes no more."""
        self._is_closed = True
        self._every.octets -= self._octets
        self._octets = 0
        self._messages, self._follow_up = [], None

    def _count(self, message: pb.WorkRequest) -> None:
        """Raises JobInvalid where it is too much of this attempt, NoRoom where it is of all together."""
        check_started_count(len(self._messages))
        own = message.publish.data if message.HasField("publish") else message.start.job.payload
        if len(own) + len(message.start.job.options) > self._every.limit:
            raise invalid("payload", f"has at most {self._every.limit} bytes; pass large data by reference")
        octets = message.ByteSize()
        if self._octets + octets > MAX_STARTED_BYTES:
            limit = f"what one attempt starts has at most {MAX_STARTED_BYTES >> 20} MiB"
            raise JobInvalid(f"{limit}; pass large data by reference", [{"field": "/payload", "message": limit}])
        if self._every.octets + octets > HELD:
            raise NoRoom
        self._octets += octets
        self._every.octets += octets

    def _add_start(self, start: pb.Start) -> None:
        started_id = self._id(start.number)
        if not start.when_all_settled:
            self._messages.append((started_id, start))
        elif self._follow_up is not None:
            raise invalid("when_all_settled", "this attempt already has a follow-up; it can have only one")
        else:
            self._follow_up = started_id, start

    def _id(self, number: int) -> str:
        try:
            started_id = ids.following(self.start_id, number)
        except ValueError:
            raise invalid("number", "counts from 0 on, to a million at most") from None
        if number in self._numbers:
            raise invalid("number", f"{number} was that of another: each has its own")
        self._numbers.add(number)
        return started_id

    def _read(self) -> Iterator[Started]:
        """Each when it is wanted: read, it may take many times the memory. Raises JobInvalid, EventInvalid."""
        for started_id, message in self._messages:
            if isinstance(message, pb.Publish):
                yield started_id, self._publication(started_id, message)
            else:
                yield started_id, self._request(message)

    def _request(self, start: pb.Start) -> JobRequest:
        if start.job.idempotency_key:
            raise invalid("idempotency_key", "is not for what an attempt starts: it cannot start twice")
        request = job_request(start.job, "")
        request.brought()
        self._permission.sign(request)
        return request

    def _publication(self, event_id: str, publish: pb.Publish) -> Publication:
        extensions = json_object("extensions", publish.extensions) if publish.extensions else {}
        data = decode(publish.data, publish.data_encoding, "data")
        source = publish.source or f"/functions/{self._attempt.taken.type}"
        return Publication.of(event_id, publish.type, source, publish.subject or None, extensions, data)
