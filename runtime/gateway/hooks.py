"""`/hooks/{function}`: what providers send that know nothing of Lanework, signed in their own way."""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import Response

from runtime import log
from runtime.errors import FunctionUnknown
from runtime.gateway import requests
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.endpoint import Paths
from runtime.gateway.hook_signatures import delivery, is_secret
from runtime.gateway.problems import BadRequest, json_reply
from runtime.handlers.hooks import UNSIGNED
from runtime.jobs.request import JobRequest

METHODS = ("POST", "PUT", "PATCH", "DELETE")
_CREDENTIALS = frozenset(("authorization", "cookie", "proxy-authorization"))


class _Delivery(JobRequest):
    """One that its key alone tells from others: a provider signs anew what it sends again."""

    __slots__ = ()

    def digest(self) -> str:
        return "hook"


class HooksApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: GuardedLanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit

    async def receive(self, request: Request) -> Response:
        """202 with the id of the new job; 200 with the first one's where the provider sends the same again.

        A signature that fits is all that a provider needs. Where the function names none, the request needs an
        access key, if the gateway asks for them.
        """
        function = request.path_params["function"]
        scheme, secret, serves = await self._signature(function)
        if scheme != UNSIGNED[0] and request.method != "POST":  # which no scheme signs
            raise BadRequest(405, "method-not-allowed", f"what is signed for {function} comes by POST")
        if scheme == UNSIGNED[0]:
            requests.refuse_foreign(request)
            await self._lanework.authorize(requests.header(request, b"authorization"), "enqueue")
            await self._require_hook(function)
        body = await requests.read_body(request, self._body_limit)
        headers = dict(request.headers)
        key = None
        if scheme != UNSIGNED[0]:
            delivered = delivery(scheme, self._secrets(function, scheme, secret), headers, body)
            key = f"hook:{serves}:{delivered}"
        payload = {
            "method": request.method,
            "headers": {name: text for name, text in headers.items() if name not in _CREDENTIALS},
            "query": dict(request.query_params),
            "body": body,
        }
        job, new, _ = await self._lanework.submit(_Delivery(function, payload, key=key))
        return json_reply({"id": job.id}, 202 if new else 200, {"Location": f"/jobs/{job.id}"})

    async def _signature(self, function: str) -> tuple[str, str, str]:
        """Scheme, secret and the function's own name; unsigned for one that is not there too: who has no key learns
        nothing."""
        try:
            deployed = await self._lanework.function(function)
        except FunctionUnknown:
            return (*UNSIGNED, function)
        return (*UNSIGNED, function) if deployed.hook is None else (*deployed.hook, deployed.serves)  # type: ignore[return-value]

    async def _require_hook(self, function: str) -> None:
        """Raises FunctionUnknown, AccessForbidden, BadRequest."""
        if (await self._lanework.function(function)).hook is None:
            hint = f"{function} takes no hooks: its handler has no parameter of type Hook"
            raise BadRequest(404, "hook-unknown", hint)

    def _secrets(self, function: str, scheme: str, secret: str) -> list[str]:
        """Raises BadRequest: 503 where the gateway's environment does not have it, or not as it must be."""
        variable = secret.removeprefix("env:")
        found = os.environ.get(variable, "").split()
        if not found or not all(is_secret(scheme, one) for one in found):
            log.get("gateway").error("hook.no_secret", function=function, variable=variable)
            raise BadRequest(503, "hook-unready", f"the gateway lacks what {function} checks signatures with")
        return found


def paths(lanework: GuardedLanework) -> Paths:
    api = HooksApi(lanework)
    return {"/hooks/{function}": dict.fromkeys(METHODS, api.receive)}
