"""How much work a function has, for whatever decides how many workers there are."""

from __future__ import annotations

import math
import re

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.problems import BadRequest, json_reply

_TARGET = re.compile(r"[1-9][0-9]{0,8}")


class ScaleApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework

    async def show(self, request: Request) -> Response:
        """Jobs of a function, with all its names, that wait and run; with `target`, the workers that they need."""
        requests.refuse_unknown(request, {"target"})
        target = request.query_params.get("target")
        if target is not None and not _TARGET.fullmatch(target):
            raise BadRequest(422, "query-invalid", "target is how many jobs a worker is meant to have, from 1 on")
        function = await self._lanework.function(request.path_params["function"])
        every = await self._lanework.functions()
        names = {name for name, deployed in every.items() if deployed.serves == function.serves}
        own = [depth for depth in await self._lanework.depths() if depth.function in names]
        waiting, running = sum(depth.waiting for depth in own), sum(depth.running for depth in own)
        reply = {"function": function.serves, "waiting": waiting, "running": running, "backlog": waiting + running}
        if target is not None:
            reply["desired_workers"] = math.ceil((waiting + running) / int(target))
        return json_reply(reply)


def paths(lanework: Lanework) -> Paths:
    return {"/scale/{function}": {"GET": ScaleApi(lanework).show}}
