"""The pages that the `type` of a problem leads to."""

from __future__ import annotations

import html

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.gateway.description import SECURITY
from runtime.gateway.endpoint import Paths
from runtime.gateway.problem_help import EXPLAINED
from runtime.gateway.problems import BadRequest

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{code} · Lanework</title><link rel="icon" href="data:,"></head>
<body><main><h1>{code}</h1><p>{text}</p><p><a href="/docs">The API</a></p></main></body></html>
"""


async def show_problem(request: Request) -> Response:
    code = request.path_params["code"]
    if code not in EXPLAINED:
        raise BadRequest(404, "no-such-path", "no problem has this name")
    page = _PAGE.format(code=html.escape(code), text=html.escape(EXPLAINED[code]))
    return Response(page, 200, SECURITY, media_type="text/html")


def paths(_: Lanework) -> Paths:
    return {"/problems/{code}": {"GET": show_problem}}
