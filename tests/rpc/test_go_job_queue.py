"""The calls of go-job-queue, as its README has them, by a client of PyPI that knows the services by reflection."""

import asyncio
import base64
import json
import time

import grpc
import pytest
from grpc_requests import Client

from runtime.rpc.generated.mpataki.jobqueue.v1 import jobqueue_pb2 as pb
from tests.rpc.test_jobs import refused

SERVICE = "mpataki.jobqueue.v1.JobService"
pytestmark = pytest.mark.usefixtures("deployed")


@pytest.fixture
async def ask(served):
    """`await ask(method, fields)` calls a method of a service, on a thread: this client waits."""
    client = await asyncio.to_thread(Client.get_by_endpoint, served.target)

    async def ask(method, fields, service=SERVICE):
        return await asyncio.to_thread(client.request, service, method, fields)

    ask.client = client
    yield ask
    client._channel.close()


async def test_both_packages_show_in_reflection(ask):
    names = ask.client.service_names

    assert {SERVICE, "lanework.v1.JobService", "lanework.v1.WorkerService", "grpc.health.v1.Health"} <= set(names)


async def test_a_job_is_enqueued_found_and_cancelled(ask):
    payload = base64.b64encode(b'{"n": 1}').decode()
    later = int(time.time() * 1000) + 60_000

    job = (await ask("EnqueueJob", {"type": "echo", "payload": payload, "execution_time_ms": later}))["job"]
    found = (await ask("GetJob", {"id": job["id"]}))["job"]
    cancelled = await ask("CancelJob", {"id": job["id"]})
    gone = (await ask("GetJob", {"id": job["id"]}))["job"]

    assert (job["type"], job["status"], int(job["execution_time_ms"])) == ("echo", "JOB_STATUS_PENDING", later)
    assert json.loads(base64.b64decode(found["payload"])) == {"n": 1}
    assert (cancelled, gone["status"]) == ({}, "JOB_STATUS_FAILED")


async def test_our_own_service_is_reached_by_reflection_too(ask):
    job = (await ask("EnqueueJob", {"type": "echo", "lane": "high"}, "lanework.v1.JobService"))["job"]

    assert job["lane"] == "high"


async def test_a_missing_job_is_not_found(served):
    method = served.channel.unary_unary(
        f"/{SERVICE}/GetJob", pb.GetJobRequest.SerializeToString, pb.GetJobResponse.FromString
    )

    error, _ = await refused(method(pb.GetJobRequest(id="none"), timeout=10))

    assert error.code() == grpc.StatusCode.NOT_FOUND


async def test_health_is_that_of_readyz(ask, served):
    health = "grpc.health.v1.Health"

    serving = await ask("Check", {"service": SERVICE}, health)
    error = await asyncio.to_thread(ask_for_unknown, ask.client)
    served.port.leave()
    leaving = await ask("Check", {}, health)

    assert serving["status"] == "SERVING"
    assert error == grpc.StatusCode.NOT_FOUND
    assert leaving.get("status") == "NOT_SERVING"


def ask_for_unknown(client):
    with pytest.raises(grpc.RpcError) as raised:
        client.request("grpc.health.v1.Health", "Check", {"service": "nobody"})
    return raised.value.code()
