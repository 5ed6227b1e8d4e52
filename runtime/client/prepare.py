"""From a request to a job that can be stored: the function's contract and policy fill in the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runtime import tracing
from runtime.client.contracts import Contracts
from runtime.client.follow_ups import FIELDS, Template
from runtime.client.payload_check import Contract
from runtime.errors import FunctionUnknown, JobInvalid, LaneUnknown, PayloadInvalid
from runtime.jobs import built_in, callback
from runtime.jobs.event import Subscribed
from runtime.jobs.request import JobRequest
from runtime.jobs.retry import Retry
from runtime.settings import Settings
from runtime.store.rows import FollowUp, NewJob
from runtime.values import codec, durations, ids
from runtime.values.shards import Shards

_JOB = "$job"
_CALLED_BACK = [name for name in FIELDS if name != "payload"]  # the receiver may be anybody


class Preparer:
    """Checks requests and makes them ready."""

    def __init__(self, contracts: Contracts, settings: Settings) -> None:
        self._contracts = contracts
        self._shards = Shards(settings.shards)
        self._settings = settings

    async def prepare(
        self, request: JobRequest, *, beside: str | None = None, join: str | None = None, tick: int | None = None
    ) -> NewJob:
        """`beside`: the id of the job that starts this one, whose shard it shares. `join`: the id of the
        job whose follow-up waits for it. `tick`: when a schedule names it, in Unix ms.

        Raises FunctionUnknown, PayloadInvalid, LaneUnknown, JobInvalid.
        """
        if request.plain and beside is None and (ready := self.prepare_plain(request, tick)) is not None:
            return ready
        if request.on is not None:
            raise _only_for_follow_ups()
        if not request.plain:
            request.brought()  # raises where that is too many
        contract = await self._checked(request, beside)
        job_id = self._place(request, contract, beside)
        following = await self._following(request, contract, job_id)
        return self.ready(
            request, contract, beside=beside, join=join, job_id=job_id, following=following, tick=tick
        )

    async def prepare_subscribed(
        self, request: Subscribed, contract: Contract, beside: str | None = None
    ) -> NewJob:
        """A subscriber's job; its payload is not checked: that it does not fit is the subscriber's failure, which
        shows there, and none of who publishes.

        Raises JobInvalid, and PayloadInvalid where the payload cannot be stored at all.
        """
        if beside is not None:
            if self._lies_elsewhere(contract, beside):
                return self._delivery(request, beside)
            request.key = None  # an attempt's event is published once in any case
        job_id = self._place(request, contract, beside)
        following = await self._following(request, contract, job_id)
        return self.ready(request, contract, beside=beside, job_id=job_id, following=following, checked=False)

    def _lies_elsewhere(self, contract: Contract, job_id: str) -> bool:
        deployed = contract.deployed
        pinned = self._shards.count > 1 and deployed.pinned
        return pinned and self._shards.pinned(deployed.serves) != ids.shard_of(job_id)

    def _delivery(self, request: Subscribed, job_id: str) -> NewJob:
        """The job, in this one's shard, that publishes the event where the subscriber's jobs lie. It shows no data:
        the subscriber may have secrets there."""
        assert request.event is not None
        payload = {"subscriber": request.type, "event": request.event.attributes, "data": request.payload}
        _pack(request.type, request.payload, self._settings.body_limit)  # raises as where it is enqueued right here
        packed = codec.pack_shown(payload)
        extras: dict[str, Any] = {"secret": [(("data",), None)]}
        if (trace := tracing.current()) is not None:
            extras["trace"] = tuple(trace)
        own_id, lane = ids.new_id(ids.shard_of(job_id)), self._settings.default_lane
        attempts = built_in.DELIVERY_ATTEMPTS
        return NewJob(own_id, built_in.DELIVERY, lane, packed, attempts, None, codec.pack_batch(extras))

    def prepare_plain(self, request: JobRequest, tick: int | None = None) -> NewJob | None:
        """The same at once for nearly every request: with nothing unusual, for a known function that has no
        destinations. Else None."""
        contract = self._contracts.known(request.type)
        if contract is None or contract.is_followed or request.on is not None or not request.plain:
            return None
        request.check()
        if request.type in built_in.NAMES:
            raise _built_in(request.type)
        return self.ready(request, contract, tick=tick)

    async def _checked(self, request: JobRequest, beside: str | None) -> Contract:
        request.check()
        if request.type in built_in.NAMES:
            raise _built_in(request.type)
        if beside is not None and request.key is not None:
            message = (
                "an idempotency key is for jobs that are enqueued from outside; this one is stored once in any case"
            )
            raise JobInvalid(message, [{"field": "/key", "message": message}])
        return self._contracts.known(request.type) or await self._contracts.get(request.type)

    async def _following(self, request: JobRequest, contract: Contract, job_id: str) -> list[FollowUp]:
        """What starts when the job has settled: as it was asked for, and as its function's policy says."""
        following = [await self._follow_up(follow_up, job_id) for follow_up in request.then]
        deployed = contract.deployed
        for name, on in ((deployed.on_success, "completed"), (deployed.on_failure, "failed")):
            if name is not None:
                following.append(await self._telling(name, on, {"job": {_JOB: list(FIELDS)}}, job_id))
        for url, events in [] if request.callback is None else callback.parse(request.callback):
            payload = {"url": url, "job": {_JOB: _CALLED_BACK}}
            if request.signer is not None:
                payload["signer"] = request.signer
            following.append(await self._telling(built_in.CALLBACK, ",".join(events), payload, job_id))
        return following

    async def _follow_up(self, request: JobRequest, job_id: str) -> FollowUp:
        template = Template(request.payload)
        request = replace(request, payload=template.payload)
        contract = await self._checked(request, job_id)
        _check_filled(request, contract, template)
        own_id = self._place(request, contract, job_id)
        following = await self._following(request, contract, own_id)
        checked = not template.fields
        job = self.ready(request, contract, beside=job_id, job_id=own_id, following=following, checked=checked)
        return self._followed(job, request.on or "completed", template)

    async def _telling(self, name: str, on: str, payload: Any, job_id: str) -> FollowUp:
        """The job that tells a destination, or a callback's URL. It has none itself, or one that names its own
        function would start jobs for ever.

        Where no worker has it, it waits for one: that is no reason to refuse the job that it is to hear of.
        """
        template = Template(payload)
        request = JobRequest(name, template.payload)
        own_id = ids.new_id(ids.shard_of(job_id))  # even where a limit would have it in another shard
        try:
            contract = self._contracts.known(name) or await self._contracts.get(name)
            job = self.ready(request, contract, beside=job_id, job_id=own_id, checked=False, unique=False)
        except FunctionUnknown:
            packed = codec.pack(template.payload)
            lane, attempts = self._settings.default_lane, Retry().max_attempts
            job = NewJob(own_id, name, lane, packed, attempts)
        return self._followed(job, on, template)

    def _followed(self, job: NewJob, on: str, template: Template) -> FollowUp:
        parts = template.cut(job.payload)
        if parts is None:
            return FollowUp(job, on)
        return FollowUp(job._replace(payload=b""), on, parts, self._settings.body_limit)

    def on_known_lane(self, request: JobRequest) -> tuple[JobRequest, Sequence[str]]:
        """The request, with the default lane in place of one that is not there, and a warning if so."""
        request.check()  # a priority of a wrong type is no lane that is missing
        try:
            if request.priority is not None:
                self._settings.lane(request.priority)
        except LaneUnknown as error:
            default = self._settings.default_lane
            return replace(request, priority=default), [f"{error}; the default lane {default} was taken"]
        return request, ()

    def ready(
        self,
        request: JobRequest,
        contract: Contract,
        *,
        beside: str | None = None,
        join: str | None = None,
        job_id: str | None = None,
        following: Sequence[FollowUp] = (),
        tick: int | None = None,
        checked: bool = True,
        unique: bool = True,
    ) -> NewJob:
        """The same for a checked request whose function's contract is at hand.

        `checked`: False for a payload that is filled in later, which the worker checks. `unique`: whether the
        function's policy may leave it out because an equal one lives.
        """
        if checked:
            contract.check(request.payload)
        deployed = contract.deployed
        lane = deployed.lane if request.priority is None else self._settings.lane(request.priority)
        max_attempts = deployed.max_attempts if request.max_attempts is None else request.max_attempts
        payload = _pack(deployed.name, request.payload, self._settings.body_limit)
        trace = tracing.current()
        if request.plain and contract.plain and beside is None and tick is None and not following and trace is None:
            return NewJob(job_id or self._shards.new_id(), deployed.name, lane, payload, max_attempts)
        terms = request.terms(deployed.ttl, deployed.max_waiting if beside is None else None)
        extras: dict[str, Any] = request.extras(
            payload,
            deployed.unique if unique else None,
            deployed.concurrency_key,
            timed=bool(terms and terms.keys() & {"ttl", "start_before"}),
        )
        if contract.secret:
            extras["secret"] = contract.secret
        if trace is not None:
            extras["trace"] = tuple(trace)
        if deployed.keep is not None:
            extras["keep"] = durations.kept_ms(deployed.keep)
        if join is not None:
            extras["join"] = join
        if tick is not None:
            extras["tick"] = tick
        if following:
            extras["then"] = following
        job_id = job_id or self._place(request, contract, beside)
        return NewJob(
            job_id, deployed.name, lane, payload, max_attempts, terms, codec.pack_batch(extras) if extras else None
        )

    def _place(self, request: JobRequest, contract: Contract, beside: str | None) -> str:
        """An id in the shard where the job must lie."""
        deployed = contract.deployed
        pin = None
        if deployed.pinned or request.unique is not None:
            pin = deployed.serves
        elif request.key is not None:
            pin = request.key
        if beside is not None and self._shards.count > 1:
            if pin is not None and self._shards.pinned(pin) != ids.shard_of(beside):
                message = (
                    f"{deployed.name} has limits, so its jobs stay in one shard, and this parent lies in another"
                )
                raise JobInvalid(message, [{"field": "/type", "message": message}])
            return ids.new_id(ids.shard_of(beside))
        return self._shards.new_id(pin)


def _check_filled(request: JobRequest, contract: Contract, template: Template) -> None:
    """Raises JobInvalid where the payload decides something that must be known before it is filled in."""
    key = contract.deployed.concurrency_key
    value = request.payload.get(key) if isinstance(request.payload, dict) else request.payload
    if key is not None and template.is_in(value):
        message = f"{key} is what {request.type} counts its attempts by: it cannot be filled in by $job"
        raise JobInvalid(message, [{"field": f"/payload/{key}", "message": message}])
    if template.fields and "payload" in (request.unique, contract.deployed.unique):
        message = "a job that is unique by its payload has no $job in it: name a key"
        raise JobInvalid(message, [{"field": "/unique", "message": message}])


def _built_in(name: str) -> JobInvalid:
    message = f"{name} is built in: other jobs start it, by what they ask for"
    return JobInvalid(message, [{"field": "/type", "message": message}])


def _only_for_follow_ups() -> JobInvalid:
    message = "is for jobs in `then`: in which status of the job before them they start"
    return JobInvalid(f"on {message}", [{"field": "/on", "message": message}])


def _pack(function: str, payload: Any, limit: int) -> bytes:
    try:
        packed = codec.pack_shown(payload)
        if len(packed) > limit:
            raise ValueError(f"it has {len(packed)} bytes, the limit is {limit}; pass large data by reference")
        return packed
    except (TypeError, ValueError) as error:
        raise PayloadInvalid(function, [{"field": "", "message": f"cannot be stored: {error}"}]) from None
