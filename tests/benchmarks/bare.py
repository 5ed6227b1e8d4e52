"""Bare Starlette routes: one parses a body and returns a job's JSON with the payload it got, one returns a job.

`bare.py PORT JOB`
"""

import sys

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

JOB = orjson.loads(sys.argv[2])


async def create(request):
    asked = orjson.loads(await request.body())
    body = orjson.dumps({**JOB, "payload": asked["payload"]})
    return Response(body, 202, {"Location": JOB["links"]["self"]}, media_type="application/json")


async def show(request):
    return Response(orjson.dumps(JOB), media_type="application/json")


uvicorn.run(
    Starlette(routes=[Route("/jobs", create, methods=["POST"]), Route("/jobs/{id}", show)]),
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    access_log=False,
    log_level="error",
    server_header=False,
    proxy_headers=False,
)
