"""Access keys over gRPC: HTTP's, with the same scopes."""

import asyncio
import contextlib

import grpc
import pytest

from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.rpc.generated.lanework.v1 import worker_pb2
from tests.conftest import serving
from tests.rpc.conftest import grpc_serving
from tests.rpc.test_jobs import drained, refused

pytestmark = pytest.mark.usefixtures("deployed")


@pytest.fixture
async def served(settings):
    async with grpc_serving(settings.model_copy(update={"require_keys": True, "stream_limit": 2})) as served:
        yield served


def echo(**fields):
    return pb.EnqueueJobRequest(type="echo", **fields)


async def test_who_shows_no_key_is_refused(served):
    error, details = await refused(served.call("ListJobs"))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.UNAUTHENTICATED, "ACCESS_DENIED")


@pytest.mark.parametrize(
    ("method", "request_", "scope"),
    [
        ("EnqueueJob", echo(), "enqueue"),
        ("ListJobs", None, "read"),
        ("GetStats", None, "read"),
        ("GetJob", pb.GetJobRequest(id="x"), "read"),
        ("CancelJob", pb.CancelJobRequest(id="x"), "operate"),
        ("PauseFunction", pb.PauseFunctionRequest(function="add"), "operate"),
        ("ResumeFunction", pb.ResumeFunctionRequest(function="add"), "operate"),
    ],
)
async def test_each_method_needs_its_scope(served, key, method, request_, scope):
    has, has_not = await key(scope), await key("metrics", "work")

    error, details = await refused(served.call(method, request_, metadata=has_not))
    allowed = await code_of(served.call(method, request_, metadata=has))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_FORBIDDEN")
    assert scope in error.details()
    assert allowed in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND)


async def test_streams_need_their_scopes_too(served, key):
    nothing = await key("metrics")

    async def requests():
        yield pb.EnqueueJobsRequest()

    for call in (served.call("EnqueueJobs", requests(), metadata=nothing),):
        error, _ = await refused(call)
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    for call in (served.call("WatchJob", metadata=nothing), served.work(metadata=nothing)):
        error, _ = await refused(call.read())
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_for_some_functions_sees_no_others(served, key):
    everything = await key("admin")
    some = await key("operate", "enqueue", functions=["add"])
    job = (await served.call("EnqueueJob", echo(), metadata=everything)).job

    forbidden, _ = await refused(served.call("EnqueueJob", echo(), metadata=some))
    hidden, _ = await refused(served.call("GetJob", pb.GetJobRequest(id=job.id), metadata=some))
    listed = await served.call("ListJobs", metadata=some)
    stats = await served.call("GetStats", metadata=some)

    assert forbidden.code() == grpc.StatusCode.PERMISSION_DENIED
    assert hidden.code() == grpc.StatusCode.NOT_FOUND
    assert (list(listed.jobs), [of.function for of in stats.functions]) == ([], ["add"])


async def test_a_key_that_may_not_read_gets_no_results(served, key):
    request = echo(payload=b'{"secret": 1}', idempotency_key="k")
    everything, enqueues = await key("admin"), await key("enqueue")
    await served.call("EnqueueJob", request, metadata=everything)

    found = await served.call("EnqueueJob", request, metadata=enqueues)

    assert found.created  # another caller's idempotency key is another one
    assert (await served.call("EnqueueJob", request, metadata=enqueues)).job.payload == b""


async def test_an_idempotency_key_is_the_same_over_http_and_grpc(served, key, settings):
    own = await key("enqueue")
    job = (await served.call("EnqueueJob", echo(payload=b"{}", idempotency_key="k"), metadata=own)).job

    async with serving(settings.model_copy(update={"require_keys": True})) as http:
        headers = {"Authorization": own[0][1], "Idempotency-Key": "k"}
        reply = await http.post("/jobs", json={"type": "echo", "payload": {}}, headers=headers)

    assert (reply.status_code, reply.json()["id"]) == (200, job.id)


async def test_a_rate_holds_for_calls(served, key):
    slow = await key("read", rate="2/m")

    await served.call("ListJobs", metadata=slow)
    await served.call("ListJobs", metadata=slow)
    error, details = await refused(served.call("ListJobs", metadata=slow))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_EXCEEDED")
    assert details["RetryInfo"].retry_delay.seconds >= 1


async def test_a_key_has_so_many_streams_open(served, key):
    own = await key("admin")
    job = (await served.call("EnqueueJob", echo(), metadata=own)).job
    watching = [served.call("WatchJob", pb.WatchJobRequest(id=job.id), metadata=own) for _ in range(2)]
    for call in watching:
        await call.read()

    error, _ = await refused(served.call("WatchJob", pb.WatchJobRequest(id=job.id), metadata=own).read())

    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in watching:
        call.cancel()


async def test_a_stream_of_jobs_counts_among_them(served, key):
    own = await key("admin")
    sending = [served.call("EnqueueJobs", metadata=own) for _ in range(2)]
    for call in sending:
        await call.write(pb.EnqueueJobsRequest(jobs=[echo()]))
    async with asyncio.timeout(10):
        while served.lanework._streams["k0"] < 2:
            await asyncio.sleep(0)

    error, _ = await refused(served.call("WatchJob", pb.WatchJobRequest(id="x"), metadata=own).read())
    for call in sending:
        await call.done_writing()

    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [(await call).stored for call in sending] == [1, 1]


async def test_a_stream_of_jobs_stores_no_more_once_its_key_is_revoked(served, key, client):
    own = await key("enqueue")
    call = served.call("EnqueueJobs", metadata=own)
    await call.write(pb.EnqueueJobsRequest(jobs=[echo()] * 1000))
    async with asyncio.timeout(10):
        while sum(depth.waiting for depth in await client.depths()) < 1000:
            pass

    await client.access.revoke("k0")
    async with asyncio.timeout(10):
        while await code_of(served.call("EnqueueJob", echo(), metadata=own)) != grpc.StatusCode.UNAUTHENTICATED:
            pass
    await call.write(pb.EnqueueJobsRequest(jobs=[echo()]))
    await call.done_writing()
    response = await call

    assert (response.stored, response.refused) == (1000, 1)
    assert response.results[-1].refusal.reason == "ACCESS_DENIED"


async def test_a_watch_ends_when_its_key_is_revoked(served, key, client):
    own = await key("admin")
    job = (await served.call("EnqueueJob", echo(), metadata=own)).job
    call = served.call("WatchJob", pb.WatchJobRequest(id=job.id), metadata=own)
    await call.read()

    await client.access.revoke("k0")

    async with asyncio.timeout(10):
        while served.lanework.keyring._keys["k0"].status == "valid":
            await code_of(served.call("ListJobs", metadata=own))
    await client.cancel(job.id)
    error, _ = await refused(drained(call))
    assert error.code() == grpc.StatusCode.UNAVAILABLE


async def code_of(call):
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call
    return await call.code()


@pytest.mark.parametrize("options", ['{"on_success": "echo"}', '{"on_failure": "echo"}', '{"on": "order.*"}'])
async def test_what_a_worker_reaches_by_itself_must_be_its_keys_too(served, key, options):
    own = await key("work", functions=["mail_*"])
    call = served.work(metadata=own)
    mine = worker_pb2.RemoteFunction(name="mail_send", options=options)

    await call.write(worker_pb2.WorkRequest(hello=worker_pb2.Hello(name="w", slots=1, functions=[mine])))
    error, _ = await refused(call.read())

    assert error.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_a_worker_registers_only_functions_that_its_key_is_for(served, key):
    own = await key("work", functions=["mail_*"])

    for name, allowed in (("mail_send", True), ("echo", False)):
        call = served.work(metadata=own)
        hello = worker_pb2.Hello(name="w", slots=1, functions=[worker_pb2.RemoteFunction(name=name)])
        await call.write(worker_pb2.WorkRequest(hello=hello))
        if allowed:
            assert (await call.read()).HasField("welcome")
            call.cancel()
        else:
            error, _ = await refused(call.read())
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
