"""`grpc.health.v1.Health`, which is open to all."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from tests.conftest import deploy
from tests.rpc.conftest import grpc_serving

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING
WAIT = 15


async def test_a_gateway_serves_once_a_function_is_known(served, client):
    health = health_pb2_grpc.HealthStub(served.channel)
    before = await health.Check(pb.HealthCheckRequest())
    watching = health.Watch(pb.HealthCheckRequest(service="lanework.v1.JobService"))
    first = await watching.read()

    async def echo(): ...

    await deploy(client, echo=echo)
    async with asyncio.timeout(WAIT):
        second = await watching.read()
    served.port.leave()
    async with asyncio.timeout(WAIT):
        third = await watching.read()

    assert (before.status, first.status) == (NOT_SERVING, NOT_SERVING)
    assert (second.status, third.status) == (SERVING, NOT_SERVING)


async def test_it_does_not_serve_while_redis_is_away(settings):
    async with grpc_serving(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})) as served:
        health = health_pb2_grpc.HealthStub(served.channel)

        assert (await health.Check(pb.HealthCheckRequest(), timeout=WAIT)).status == NOT_SERVING


async def test_it_asks_for_no_key(settings, client):
    async with grpc_serving(settings.model_copy(update={"require_keys": True})) as served:
        health = health_pb2_grpc.HealthStub(served.channel)

        assert (await health.Check(pb.HealthCheckRequest(), timeout=WAIT)).status == NOT_SERVING


async def test_an_unknown_service_is_watched_until_it_comes(served):
    watching = health_pb2_grpc.HealthStub(served.channel).Watch(pb.HealthCheckRequest(service="nobody"))

    assert (await watching.read()).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()
    assert await watching.code() == grpc.StatusCode.CANCELLED
