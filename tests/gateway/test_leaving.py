"""A gateway that leaves answers who waits, with the job as it is."""

import asyncio

import httpx
import pytest
from httpx_sse import aconnect_sse

from tests.servers import free_port


@pytest.fixture
async def gateway(process, deployed):
    port = free_port()
    one = process("gateway", "--port", str(port))
    await asyncio.to_thread(one.await_said, "gateway.started")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        trust_env=False,
        timeout=20,
        transport=httpx.AsyncHTTPTransport(retries=5),
    ) as http:
        yield one, http


async def test_requests_that_wait_are_answered_and_streams_end(gateway, client):
    one, http = gateway
    async with aconnect_sse(http, "GET", f"/jobs/{(await client.enqueue('echo')).id}") as source:
        events = source.aiter_sse()
        assert (await anext(events)).event == "status"
        posting = asyncio.create_task(http.post("/jobs?wait=60", json={"type": "echo"}))
        while len((await client.page()).jobs) < 2:
            await asyncio.sleep(0)
        code = await asyncio.to_thread(one.stop)
        posted = await posting
        left = [event async for event in events]

    assert (code, left) == (0, [])
    assert (posted.status_code, posted.json()["status"]) == (202, "pending")
    assert (await client.get(posted.json()["id"])).status == "pending"
    assert one.said("gateway.left")
    assert not one.said("Traceback")


@pytest.mark.parametrize(
    ("path", "accept"), [("/events", "text/event-stream"), ("/jobs/{id}/output", "text/plain")]
)
async def test_other_streams_end_too(gateway, client, path, accept):
    one, http = gateway
    job = await client.enqueue("echo")
    async with http.stream("GET", path.format(id=job.id), headers={"Accept": accept}) as reply:
        code = await asyncio.to_thread(one.stop)
        await reply.aread()

    assert (reply.status_code, code) == (200, 0)
    assert not one.said("Traceback")


async def test_an_upload_that_is_not_through_is_refused_with_a_problem(gateway):
    one, http = gateway
    await http.get("/healthz")  # by now it listens
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    head = b"POST /jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + b'{"type":"echo"}\n' + b"\r\n")
    await writer.drain()
    await http.get("/healthz")  # by now it has read that too
    stopping = asyncio.create_task(asyncio.to_thread(one.stop))
    async with asyncio.timeout(20):
        reply = await reader.read()
    writer.close()

    assert await stopping == 0
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b"/problems/gateway-leaving" in reply
    assert not one.said("Traceback")
