"""The methods of one request and one response as Connect has them, on the gateway's own port."""

import base64
import gzip
import json

import pytest
from google.rpc import error_details_pb2

from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from runtime.store.access import issue
from tests.conftest import serving, until_keys_are_asked_for

JOBS = "/lanework.v1.JobService"
BINARY = {"Content-Type": "application/proto"}


@pytest.fixture
async def http(settings, deployed):
    async with serving(settings.model_copy(update={"body_limit": 20_000})) as http:
        yield http


async def test_a_job_is_enqueued_by_json_alone(http, client):
    reply = await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo", "payload": "SGVsbG8="})

    job = reply.json()["job"]
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    assert (job["type"], job["status"], job["payload"]) == ("echo", "JOB_STATUS_PENDING", "SGVsbG8=")
    assert (await client.get(job["id"])).payload == b"Hello"


async def test_names_of_the_proto_are_understood_too(http):
    reply = await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo", "execution_time_ms": 4_000_000_000_000})

    assert reply.json()["job"]["executionTimeMs"] == "4000000000000"


async def test_binary_messages_are_answered_in_binary(http):
    reply = await http.post(
        f"{JOBS}/EnqueueJob", content=pb.EnqueueJobRequest(type="echo").SerializeToString(), headers=BINARY
    )

    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/proto")
    assert pb.EnqueueJobResponse.FromString(reply.content).created


async def test_all_methods_of_one_request_and_one_response_are_there(http):
    job = (await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo"})).json()["job"]

    for method, fields in (
        ("GetJob", {"id": job["id"]}),
        ("ListJobs", {"type": "echo"}),
        ("GetStats", {}),
        ("PauseFunction", {"function": "echo"}),
        ("ResumeFunction", {"function": "echo"}),
        ("CancelJob", {"id": job["id"]}),
    ):
        assert (await http.post(f"{JOBS}/{method}", json=fields)).status_code == 200, method


async def test_go_job_queue_is_there_with_its_own_messages(http):
    reply = await http.post("/mpataki.jobqueue.v1.JobService/EnqueueJob", json={"type": "echo", "payload": "e30="})

    assert reply.json()["job"].keys() == {
        "id",
        "type",
        "payload",
        "status",
        "executionTimeMs",
        "createdAt",
        "updatedAt",
    }


async def test_a_body_may_be_gzip(http):
    body = gzip.compress(json.dumps({"type": "echo"}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert (await http.post(f"{JOBS}/EnqueueJob", content=body, headers=headers)).status_code == 200


async def test_an_empty_body_is_an_empty_message(http):
    reply = await http.post(f"{JOBS}/ListJobs", headers={"Content-Type": "application/json"})

    assert (reply.status_code, reply.json()) == (200, {})


# errors


@pytest.mark.parametrize("payload", [{"a": 1}, 5, "Hello, world"])
async def test_a_payload_that_is_no_base64_is_told_what_it_must_be(http, payload):
    reply = await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo", "payload": payload})

    assert "payload is base64, such as e30= for {}" in reply.json()["message"]


@pytest.mark.parametrize(
    ("method", "fields", "status", "code", "reason"),
    [
        ("EnqueueJob", {"type": "nobody"}, 404, "not_found", "FUNCTION_UNKNOWN"),
        ("EnqueueJob", {"type": "add", "payload": "e30="}, 400, "invalid_argument", "PAYLOAD_INVALID"),
        ("EnqueueJob", {"type": "echo", "payload": "A" * 28_000}, 429, "resource_exhausted", "TOO_LARGE"),
        ("EnqueueJob", {"type": "echo", "payload": "A" * 60_000}, 429, "resource_exhausted", "TOO_LARGE"),
        ("EnqueueJob", {"typ": "echo"}, 400, "invalid_argument", "REQUEST_INVALID"),
        ("EnqueueJob", {"type": 5}, 400, "invalid_argument", "REQUEST_INVALID"),
        ("EnqueueJob", {"type": "echo", "payload": {"a": 1}}, 400, "invalid_argument", "REQUEST_INVALID"),
        ("EnqueueJob", {"type": "echo", "payload": "Hello, world"}, 400, "invalid_argument", "REQUEST_INVALID"),
        ("EnqueueJob", [], 400, "invalid_argument", "REQUEST_INVALID"),
        ("GetJob", {"id": "x"}, 404, "not_found", "JOB_NOT_FOUND"),
        ("ListJobs", {"payload": {"a": "b"}}, 400, "failed_precondition", "HISTORY_MISSING"),
    ],
)
async def test_errors_are_those_of_the_protocol(http, method, fields, status, code, reason):
    reply = await http.post(f"{JOBS}/{method}", json=fields)

    error = reply.json()
    (info,) = [detail for detail in error["details"] if detail["type"] == "google.rpc.ErrorInfo"]
    packed = base64.b64decode(info["value"] + "=" * (-len(info["value"]) % 4))
    assert (reply.status_code, error["code"]) == (status, code), error
    assert error_details_pb2.ErrorInfo.FromString(packed).reason == reason
    assert reply.headers["X-Request-Id"]


@pytest.mark.parametrize("body", [b"null", b"1", b"true", b"[]", b'"x"'])
async def test_json_that_is_no_object_is_refused(http, body):
    reply = await http.post(f"{JOBS}/ListJobs", content=body, headers={"Content-Type": "application/json"})

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"type": "' + b"\xed\xa0\x80" + b'"}', b"[" * 5000])
async def test_a_body_that_is_no_message_is_refused(http, body):
    for headers in (BINARY, {"Content-Type": "application/json"}):
        reply = await http.post(f"{JOBS}/EnqueueJob", content=body, headers=headers)

        assert (reply.status_code, reply.json()["code"]) == (400, "invalid_argument"), body


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/connect+json"]
)
async def test_other_media_types_are_refused(http, kind):
    reply = await http.post(f"{JOBS}/EnqueueJob", content=b"{}", headers={"Content-Type": kind})

    assert (reply.status_code, reply.headers["Accept-Post"]) == (415, "application/json, application/proto")


async def test_a_deadline_is_kept(http, redis):
    await http.post(f"{JOBS}/ListJobs", json={})
    await redis.execute_command("CLIENT", "PAUSE", 500)

    late = await http.post(f"{JOBS}/ListJobs", json={}, headers={"Connect-Timeout-Ms": "50"})

    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")


async def test_an_odd_deadline_is_refused(http):
    odd = await http.post(f"{JOBS}/ListJobs", json={}, headers={"Connect-Timeout-Ms": "soon"})

    assert (odd.status_code, odd.json()["code"]) == (400, "invalid_argument")


async def test_a_streaming_method_is_not_here(http):
    reply = await http.post(f"{JOBS}/WatchJob", json={})

    assert reply.status_code == 404


# access


async def test_keys_and_scopes_are_those_of_http(http, client):
    made, token = issue("shop", ["enqueue"])
    assert await client.access.add(made)
    await until_keys_are_asked_for(http)
    headers = {"Authorization": f"Bearer {token}"}

    nobody = await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo"})
    allowed = await http.post(f"{JOBS}/EnqueueJob", json={"type": "echo"}, headers=headers)
    forbidden = await http.post(f"{JOBS}/ListJobs", json={}, headers=headers)
    operates = await http.post(f"{JOBS}/PauseFunction", json={"function": "echo"}, headers=headers)

    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")
    assert allowed.status_code == 200
    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "permission_denied")
    assert operates.status_code == 403
