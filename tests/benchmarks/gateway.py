"""What the gateway does by the thousand: jobs in batches, open streams; and how soon it answers a POST."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

import httpx
import uvloop

from runtime import settings
from runtime.client import Lanework
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import Server, cpu_seconds, free_port, lanework, server, until

_BATCH = 10_000
_BATCHES = 5
_STREAMS = 1000
_SECONDS = 10.0
_POSTS = 3000


def measure() -> dict[str, float]:
    port = free_port()
    with server() as one:
        uvloop.run(_deploy(one))
        with lanework(one, "gateway", "--port", str(port)) as gateway:
            until(lambda: _answers(port), "gateway")
            return {
                **_batches(port),
                **uvloop.run(_streams(port, gateway.pid)),
                **uvloop.run(_latencies(port)),
            }


def _batches(port: int) -> dict[str, float]:
    lines = b"\n".join([json.dumps({"type": "noop", "payload": {"x": n}}).encode() for n in range(_BATCH)])
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
        headers = {"Content-Type": "application/x-ndjson"}
        http.post("/jobs/batch", content=lines, headers=headers).raise_for_status()
        begun = time.monotonic()
        for _ in range(_BATCHES):
            assert http.post("/jobs/batch", content=lines, headers=headers).json()["stored"] == _BATCH
        return {"POST /jobs/batch, jobs/s": _BATCH * _BATCHES / (time.monotonic() - begun)}


async def _streams(port: int, pid: int) -> dict[str, float]:
    """Per cent of a core that open streams cost in which nothing happens."""
    limits = httpx.Limits(max_connections=_STREAMS + 10)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, trust_env=False) as http:
        job = (await http.post("/jobs", json={"type": "noop", "payload": {"x": 1}, "delay": 3600})).json()
        events = {"Accept": "text/event-stream"}
        open_ones = []
        for _ in range(_STREAMS):
            request = http.build_request("GET", job["links"]["self"], headers=events)
            open_ones.append(await http.send(request, stream=True))
        await asyncio.sleep(1)
        before = cpu_seconds(pid)
        await asyncio.sleep(_SECONDS)
        used = cpu_seconds(pid) - before
        for one in open_ones:
            await one.aclose()
    return {f"% of a core for {_STREAMS:,} idle streams": used / _SECONDS * 100}


async def _latencies(port: int) -> dict[str, float]:
    """Of POSTs one after the other, at half of the rate at which they can be sent so."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        body = {"type": "noop", "payload": {"x": 1}}
        begun = time.monotonic()
        for _ in range(300):
            await http.post("/jobs", json=body)
        every = 2 * (time.monotonic() - begun) / 300
        took = []
        due = time.monotonic()
        for _ in range(_POSTS):
            due += every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            sent = time.monotonic()
            await http.post("/jobs", json=body)
            took.append((time.monotonic() - sent) * 1000)
    return {"p50 ms of a POST": statistics.median(took), "p99 ms of a POST": sorted(took)[int(0.99 * len(took))]}


async def _deploy(one: Server) -> None:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await deploy(client)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False
