"""gRPC beside HTTP: jobs one by one and by the thousand, and how fast a remote worker takes them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import httpx
import uvloop

from runtime import settings
from runtime.client import Lanework
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from tests.benchmarks.drain import deploy
from tests.benchmarks.gateway import _answers, _batches
from tests.benchmarks.machine import Server, cpu_seconds, free_port, lanework, server, until

_UNARY = 6000
_AT_ONCE = 32
_STREAMED = 50_000
_PART = 1000
_REMOTE = 10_000
_WORKER = """
    from runtime.remote import Worker

    async def far(x: int) -> None: ...

    Worker("http://127.0.0.1:%d", name="far", slots=200).register("far", far).run()
"""


def measure() -> dict[str, float]:
    port, grpc_port = free_port(), free_port()
    with server() as one:
        uvloop.run(_deploy(one))
        with lanework(one, "gateway", "--port", str(port), "--grpc-port", str(grpc_port)) as gateway:
            until(lambda: _answers(port), "gateway")
            figures = uvloop.run(_one_by_one(port, grpc_port, gateway.pid))
            batch = _batches(port)["POST /jobs/batch, jobs/s"]
            streamed = uvloop.run(_streamed(grpc_port))
            figures |= {"EnqueueJobs, jobs/s": streamed, "EnqueueJobs beside POST /jobs/batch": streamed / batch}
            return figures | {"jobs/s of one remote worker": asyncio.run(_remote(one, grpc_port))}


async def _one_by_one(port: int, grpc_port: int, pid: int) -> dict[str, float]:
    """Each with as many at once, from one client. Clients in Python take longer than the gateway: its CPU tells."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        body = {"type": "noop", "payload": {"x": 1}}
        _, http_cpu = await _rate(lambda: http.post("/jobs", json=body), pid)
    request = pb.EnqueueJobRequest(type="noop", payload=json.dumps({"x": 1}).encode())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        enqueue = channel.unary_unary(
            "/lanework.v1.JobService/EnqueueJob",
            pb.EnqueueJobRequest.SerializeToString,
            pb.EnqueueJobResponse.FromString,
        )
        rate, grpc_cpu = await _rate(lambda: enqueue(request), pid)
    return {
        "EnqueueJob/s": rate,
        "us of the gateway an EnqueueJob": grpc_cpu,
        "us of the gateway a POST /jobs": http_cpu,
        "POST's cost beside EnqueueJob's": http_cpu / grpc_cpu,
    }


async def _rate(ask: Callable[[], Awaitable[object]], pid: int) -> tuple[float, float]:
    """Calls a second, and microseconds of the gateway's CPU for each."""
    left = _UNARY

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    begun, before = time.monotonic(), cpu_seconds(pid)
    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    return _UNARY / (time.monotonic() - begun), (cpu_seconds(pid) - before) / _UNARY * 1e6


async def _streamed(port: int) -> float:
    job = pb.EnqueueJobRequest(type="noop", payload=json.dumps({"x": 1}).encode())

    async def requests() -> AsyncIterator[pb.EnqueueJobsRequest]:
        for _ in range(_STREAMED // _PART):
            yield pb.EnqueueJobsRequest(jobs=[job] * _PART)

    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", 64 << 20)]
    ) as channel:
        enqueue = channel.stream_unary(
            "/lanework.v1.JobService/EnqueueJobs",
            pb.EnqueueJobsRequest.SerializeToString,
            pb.EnqueueJobsResponse.FromString,
        )
        begun = time.monotonic()
        response = await enqueue(requests())
        assert response.stored == _STREAMED
        return _STREAMED / (time.monotonic() - begun)


async def _remote(one: Server, port: int) -> float:
    """No-ops taken, sent away, run and settled, by one worker of 200 slots."""
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WORKER % port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with Lanework(settings.load({}, redis_url=one.url)) as client:
            while "far" not in await client.functions():
                await asyncio.sleep(0.05)
            await client.pause(function="far")
            ids = await client.enqueue_many("far", [{"x": n} for n in range(_REMOTE)])
            begun = time.monotonic()
            await client.resume(function="far")
            while any(depth.function == "far" and depth.waiting + depth.running for depth in await client.depths()):
                await asyncio.sleep(0.01)
            took = time.monotonic() - begun
            assert (await client.wait(ids[-1], 10)).status == "completed"
            return _REMOTE / took
    finally:
        worker.terminate()
        worker.wait()


async def _deploy(one: Server) -> None:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await deploy(client)
