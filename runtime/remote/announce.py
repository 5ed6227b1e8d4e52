"""What a worker says of its functions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from runtime.errors import FunctionInvalid
from runtime.handlers.policy import Policy
from runtime.handlers.spec import Function
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.values import codec

_AS_THEY_ARE = (
    "lane",
    "timeout",
    "concurrency",
    "concurrency_key",
    "rate",
    "max_waiting",
    "ttl",
    "keep",
    "unique",
    "on_success",
    "on_failure",
)
_OF_FILES = ("memory", "recycle", "recycle_above")  # for functions that Lanework runs in processes of its own


def announced(function: Function, version: str) -> pb.RemoteFunction:
    """Raises FunctionInvalid for what needs a process of Lanework's."""
    policy = function.policy
    if function.hook is not None or any(getattr(policy, name) is not None for name in _OF_FILES):
        raise FunctionInvalid(
            f"{function.name}: hook, memory and recycle are for functions that Lanework runs itself"
        )
    return pb.RemoteFunction(
        name=function.name,
        doc=function.doc,
        schema=_json(function.schema),
        returns=_json(function.returns),
        options=_json(_options(policy)),
        version=version,
    )


def _options(policy: Policy) -> dict[str, Any]:
    """What makes the same policy anew."""
    options = {name: value for name in _AS_THEY_ARE if (value := getattr(policy, name)) is not None}
    options |= {"retry": asdict(policy.retry), "aliases": policy.aliases, "on": policy.on, "where": policy.where}
    if policy.schedules:
        options["schedule"] = {schedule.cron: schedule.payload for schedule in policy.schedules}
        options["timezone"] = policy.schedules[0].timezone
    return options


def _json(value: Any) -> str:
    return codec.to_json(value).decode()
