"""Callbacks: a URL is told that a job has settled, by a receiver that is not ours."""

import asyncio
import base64
import contextlib
import json

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from runtime.errors import JobInvalid
from runtime.jobs.request import JobRequest
from runtime.store.access import issue
from runtime.store.webhook_secret import WebhookSecret, made
from tests.conftest import deploy, serving, until_keys_are_asked_for

MODULES = {
    "good": "async def handle(n: int = 1) -> int:\n    return n\n",
    "bad": "from runtime import Permanent\nasync def handle():\n    raise Permanent('no such house')\n",
}


class Receiver:
    """An HTTP server that answers as it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.got: asyncio.Queue = asyncio.Queue()

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        answer = self.answers.pop(0) if self.answers else b"204 No Content"
        writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.got.put_nowait((head.split(" ")[1], headers, body))

    async def next(self):
        return await asyncio.wait_for(self.got.get(), 15)


@pytest.fixture
async def receiver():
    one = Receiver()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield one


@pytest.fixture
def fleet(settings, folder, worker):
    """A worker on a folder, which has the built-in functions too."""
    folder.write(**MODULES)

    def start(**more):
        own = {"functions_dir": folder.path, "allow_private": True, **more}
        return worker(settings.model_copy(update=own))

    return start


async def settled(client, job_id):
    return await client.wait(job_id, 15)


async def the_callback(client, job):
    done = await settled(client, job.id)
    async with asyncio.timeout(15):
        while not (
            jobs := [j for j in [await client.get(child) for child in done.children] if j.type == "job_callback"]
        ):
            await asyncio.sleep(0)
    return jobs[0]


async def test_a_callback_is_a_signed_webhook_with_the_settled_job(client, fleet, receiver, redis, settings):
    async with fleet():
        job = await client.enqueue("good", {"n": 7}, callback=f"{receiver.url}/hook?a=1")
        target, headers, body = await receiver.next()
        sent = await settled(client, (await the_callback(client, job)).id)
        secret = await WebhookSecret(redis, settings).get()

    event = Webhook(secret).verify(body, headers)
    assert target == "/hook?a=1"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == sent.id
    assert event["type"] == "job.completed"
    assert event["timestamp"] == event["data"]["finished_at"]
    assert {name: event["data"][name] for name in ("id", "type", "status", "result", "error")} == {
        "id": job.id,
        "type": "good",
        "status": "completed",
        "result": 7,
        "error": None,
    }
    assert "payload" not in event["data"]
    assert (sent.status, sent.result, sent.parent) == ("completed", {"status": 204}, job.id)


async def test_a_body_that_was_changed_does_not_verify(client, fleet, receiver, redis, settings):
    async with fleet():
        await client.enqueue("good", callback=receiver.url)
        _, headers, body = await receiver.next()
        secret = await WebhookSecret(redis, settings).get()

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"completed", b"cancelled"), headers)


async def test_a_secret_of_one_s_own_signs(client, fleet, receiver):
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    async with fleet(webhook_secret=SecretStr(secret)):
        await client.enqueue("good", callback=receiver.url)
        _, headers, body = await receiver.next()

    assert Webhook(secret).verify(body, headers)["type"] == "job.completed"


async def test_a_callback_hears_of_the_ends_that_it_names(client, fleet, receiver):
    wanted = [
        {"url": f"{receiver.url}/failed", "on": ["failed"]},
        {"url": f"{receiver.url}/done", "on": ["completed"]},
    ]
    async with fleet():
        await client.enqueue("bad", callback=wanted)
        target, _, body = await receiver.next()
        await client.enqueue("good", callback=wanted)
        assert (await receiver.next())[0] == "/done"

    assert target == "/failed"
    assert json.loads(body)["data"]["error"] == {"type": "Permanent", "message": "no such house"}
    assert receiver.got.empty()


async def test_a_cancelled_job_is_told_of_too(client, fleet, receiver):
    async with fleet():
        job = await client.enqueue("good", delay=600, callback=receiver.url)
        await client.cancel(job.id)

        assert json.loads((await receiver.next())[2])["type"] == "job.cancelled"


async def test_what_the_receiver_refuses_is_sent_again_under_the_same_id(client, fleet, receiver):
    receiver.answers += [b"503 Busy\r\nRetry-After: 0", b"429 Slow Down\r\nRetry-After: 900"]
    ids, waits = [], []
    async with fleet():
        job = await client.enqueue("good", callback=receiver.url)
        for _ in range(2):
            ids.append((await receiver.next())[1]["webhook-id"])
            sent = await the_callback(client, job)
            async with asyncio.timeout(15):
                while sent.status != "scheduled":
                    sent = await client.get(sent.id)
            waits.append((sent.run_at - sent.updated_at) / 1000)
            await client.move(sent.id)
        ids.append((await receiver.next())[1]["webhook-id"])
        sent = await settled(client, sent.id)

    assert len(set(ids)) == 1
    assert waits == [5, 900]
    assert (sent.status, sent.attempt) == ("completed", 3)


@pytest.mark.parametrize("answer", [b"500 Oops", b"301 Moved\r\nLocation: http://127.0.0.1:1/", b"404 Not Found"])
async def test_anything_but_a_success_is_tried_again_later(client, fleet, receiver, answer):
    receiver.answers.append(answer)
    async with fleet():
        job = await client.enqueue("good", callback=receiver.url)
        await receiver.next()
        sent = await the_callback(client, job)
        async with asyncio.timeout(15):
            while not sent.attempts or sent.status == "running":
                sent = await client.get(sent.id)

    assert sent.status == "scheduled"
    assert answer[:3].decode() in sent.error["message"]


async def test_a_receiver_that_is_gone_ends_it_and_it_can_be_replayed(client, fleet, receiver):
    receiver.answers.append(b"410 Gone")
    async with fleet():
        job = await client.enqueue("good", callback=receiver.url)
        await receiver.next()
        sent = await settled(client, (await the_callback(client, job)).id)
        assert (sent.status, sent.attempt) == ("failed", 1)
        await client.retry(sent.id)
        await receiver.next()

        assert (await settled(client, sent.id)).status == "completed"


async def test_a_private_address_is_refused_unless_that_is_allowed(client, fleet, receiver):
    async with fleet(allow_private=False):
        job = await client.enqueue("good", callback=receiver.url)
        sent = await settled(client, (await the_callback(client, job)).id)

    assert sent.status == "failed"
    assert "LANEWORK_ALLOW_PRIVATE" in sent.error["message"]
    assert receiver.got.empty()


async def test_over_http_a_callback_is_a_field_a_parameter_or_a_header(client, http, fleet, receiver):
    async with fleet():
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0)
        sent = [
            await http.post("/jobs", json={"type": "good", "callback": f"{receiver.url}/1"}),
            await http.post("/functions/good/jobs", params={"callback": f"{receiver.url}/2"}),
            await http.post("/jobs", json={"type": "good"}, headers={"X-Callback-Url": f"{receiver.url}/3"}),
            await http.post("/functions/good/jobs", headers={"X-Callback-Url": f"{receiver.url}/4"}),
            await http.post("/jobs/batch", json=[{"type": "good", "callback": [f"{receiver.url}/5"]}]),
        ]
        targets = {(await receiver.next())[0] for _ in sent}
    both = {"json": {"type": "good", "callback": receiver.url}, "headers": {"X-Callback-Url": receiver.url}}

    assert [reply.status_code for reply in sent] == [202] * 5
    assert targets == {"/1", "/2", "/3", "/4", "/5"}
    assert (await http.post("/jobs", **both)).status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "ftp://example.com",
        "https://",
        "https://user:pass@example.com",
        "https://a b",
        "https://example.com:99999",
        "http://[",
        "javascript:alert(1)",
        "https://example.com/\r\nX: y",
        "http://☃.net/",
        "http://[v1.x]/",
        "https://example.com/" + "x" * 2000,
        7,
        [],
        {},
        {"url": "https://example.com", "on": []},
        {"url": "https://example.com", "on": ["running"]},
        {"url": "https://example.com", "to": "me"},
        ["https://example.com"] * 11,
        [["https://example.com"]],
    ],
)
async def test_a_callback_that_cannot_be_is_refused(client, wrong):
    async def good() -> None: ...

    await deploy(client, good=good)
    with pytest.raises(JobInvalid, match="callback"):
        await client.enqueue("good", callback=wrong)


async def test_nobody_else_starts_what_is_signed(client, fleet, http):
    payload = {"url": "https://example.com", "job": {"status": "completed"}}
    async with fleet():
        with pytest.raises(JobInvalid, match="job_callback"):
            await client.enqueue("job_callback", payload)
        with pytest.raises(JobInvalid, match="job_callback"):
            await client.enqueue("good", then=[JobRequest("job_callback", payload)])
        assert (await http.post("/functions/job_callback/jobs", json=payload)).status_code == 422


async def test_a_worker_without_the_function_leaves_callbacks_to_others(client, fleet, receiver):
    async with fleet(functions=("good",)):
        job = await client.enqueue("good", callback=receiver.url)
        waiting = await the_callback(client, job)
        assert waiting.status == "pending"
    async with fleet(functions=("job_callback",)):
        await receiver.next()


async def test_a_receiver_that_never_answers_keeps_nothing_else_waiting(client, fleet):
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader, writer):
        asked.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        async with fleet(grace=0):
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await client.enqueue("good", callback=url)
            await asyncio.wait_for(asked.wait(), 15)
            other = await client.enqueue("good")
            assert (await settled(client, other.id)).status == "completed"
        await asyncio.wait_for(gone.wait(), 15)


async def test_a_key_s_own_secret_signs_the_callbacks_of_its_jobs_alone(client, fleet, receiver, redis, settings):
    own = made()
    shop, token = issue("shop", ["enqueue"], webhook_secret=own)
    other, other_token = issue("other", ["enqueue"])
    for key in (shop, other):
        await client.access.add(key)

    async with fleet(), serving(settings) as http:
        await until_keys_are_asked_for(http)

        async def heard(shown, **job):
            job = {"type": "good", "callback": receiver.url, **job}
            reply = await http.post("/jobs", json=job, headers={"Authorization": f"Bearer {shown}"})
            assert reply.status_code == 202, reply.text
            return await receiver.next()

        _, headers, body = await heard(token)
        _, others_headers, others_body = await heard(other_token)
        follow_up = {"type": "good", "callback": receiver.url}
        _, later_headers, later_body = await heard(token, callback=None, then=[follow_up])
        shared = await WebhookSecret(redis, settings).get()

    assert Webhook(own).verify(body, headers)["type"] == "job.completed"
    assert Webhook(own).verify(later_body, later_headers)
    assert Webhook(shared).verify(others_body, others_headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(own).verify(others_body, others_headers)


async def test_a_callback_of_a_key_that_is_forgotten_says_so(client, fleet, receiver):
    async with fleet():
        job, *_ = await client.submit(JobRequest("good", callback=receiver.url, signer="nobody"))
        told = await settled(client, (await the_callback(client, job)).id)

    assert (told.status, told.error["message"]) == (
        "failed",
        "the access key nobody, whose secret signs this, is forgotten",
    )
