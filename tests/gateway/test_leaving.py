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
