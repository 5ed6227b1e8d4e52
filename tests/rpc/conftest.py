"""A gateway's gRPC port, and a channel to it."""

from __future__ import annotations

import contextlib
import logging

import grpc
import pytest
import structlog

from runtime import log
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.access.rpc_guard import RpcGuard
from runtime.rpc.generated.lanework.v1 import jobs_pb2, worker_pb2
from runtime.rpc.port import Port
from runtime.rpc.service import request_type
from runtime.store.access import issue
from tests.conftest import deploy


class Served:
    """A port that listens, and calls of its methods by name."""

    def __init__(self, port, number, lanework):
        self.port = port
        self.number = number
        self.target = f"127.0.0.1:{number}"
        self.url = f"http://{self.target}"
        self.lanework = lanework
        self.channel = grpc.aio.insecure_channel(self.target)

    def call(self, method, request=None, *, service=jobs_pb2.DESCRIPTOR.services_by_name["JobService"], **options):
        """As gRPC's own client calls it: a message for a message, or a stream."""
        described = service.methods_by_name[method]
        kind = ("stream" if described.client_streaming else "unary") + (
            "_stream" if described.server_streaming else "_unary"
        )
        answer = request_type_of_response(described)
        make = getattr(self.channel, kind)
        stub = make(
            f"/{service.full_name}/{method}",
            request_serializer=request_type(described).SerializeToString,
            response_deserializer=answer.FromString,
        )
        if request is None and not described.client_streaming:
            request = request_type(described)()
        options.setdefault("timeout", 20)
        return stub(request, **options)

    def work(self, **options):
        """A stream of a remote worker."""
        return self.call("Work", service=worker_pb2.DESCRIPTOR.services_by_name["WorkerService"], **options)


def request_type_of_response(method):
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(method.output_type)


@contextlib.asynccontextmanager
async def grpc_serving(settings):
    """The port of a gateway with these settings: the one that they name, or a free one."""
    settings = settings.model_copy(update={"grpc_port": settings.grpc_port or 0})
    lanework = GuardedLanework(settings, required=settings.require_keys)
    port = Port(lanework, RpcGuard(lanework), settings)
    served = Served(port, await port.start(), lanework)
    try:
        yield served
    finally:
        await served.channel.close()
        lanework.release()
        await port.stop()
        await lanework.close()


@pytest.fixture
async def served(settings):
    async with grpc_serving(settings.model_copy(update={"body_limit": 20_000, "grace": 2.0})) as served:
        yield served


@pytest.fixture
async def deployed(client):
    """Functions that the gateway knows, and no worker that has them."""

    async def add(a: int, b: int = 0) -> int:
        return a + b

    async def echo(payload):
        return payload

    await deploy(client, add=add, echo=echo)


@pytest.fixture
def logged(settings):
    """The log as a process of its own has it, from which jobs keep lines."""
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    log.configure(settings.model_copy(update={"log_format": "json"}))
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def key(client):
    """`key("enqueue", …)` makes an access key, and gives the metadata that show it."""

    async def make(*scopes, **limits):
        made, token = issue(f"k{len(await client.access.all())}", scopes, **limits)
        assert await client.access.add(made)
        return (("authorization", f"Bearer {token}"),)

    return make
