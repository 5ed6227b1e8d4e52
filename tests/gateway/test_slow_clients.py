"""Clients that do not finish what they send, or do not read what they asked for, hold no connection for ever."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from runtime.gateway import bounded_protocol
from runtime.store.keys import Keys
from runtime.values import codec

UNFINISHED = {
    "nothing": b"",
    "half of a head": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n",
    "half of a body": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 100\r\n\r\n{",
    "a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /jobs HTTP/1.1\r\n",
}


def connect(http):
    return asyncio.open_connection(http.base_url.host, http.base_url.port)


@pytest.mark.parametrize("sent", UNFINISHED)
async def test_a_request_that_never_ends_is_ended(monkeypatch, http, sent):
    monkeypatch.setattr(bounded_protocol, "REQUEST_WITHIN", 0.3)
    reader, writer = await connect(http)
    writer.write(UNFINISHED[sent])
    got = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert b"408 Request Timeout" in got
    assert (b"200 OK" in got) == (sent == "a second request")


async def test_a_pipelined_request_is_not_ended_while_the_one_before_it_is_answered(monkeypatch, http, deployed):
    job = (await http.post("/jobs", json={"type": "echo"})).json()
    monkeypatch.setattr(bounded_protocol, "REQUEST_WITHIN", 0.3)
    waits = f"GET /jobs/{job['id']} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=1\r\n\r\n"
    reader, writer = await connect(http)
    writer.write(waits.encode() + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    got = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert (got.count(b"HTTP/1.1 202 Accepted"), got.count(b"HTTP/1.1 200 OK")) == (1, 1)
    assert b"408 Request Timeout" not in got


ENDLESS = {
    "head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    "header": b"GET /healthz HTTP/1.1\r\nHost: ",
    "path": b"GET /",
    "trailer": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
}


@pytest.mark.parametrize("part", ENDLESS)
async def test_a_head_without_an_end_is_refused(http, part):
    _reader, writer = await connect(http)
    writer.write(ENDLESS[part])
    more = b"x: y\r\n" if part == "head" else b"x"
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while not writer.is_closing():
                writer.write(more * 50_000)
                await writer.drain()
    writer.close()

    assert (await http.get("/healthz")).status_code == 200


async def test_a_large_head_is_told_so(http):
    reader, writer = await connect(http)
    writer.write(ENDLESS["header"])
    await writer.drain()
    for _ in range(bounded_protocol.MAX_HEAD // 1000 + 1):
        writer.write(b"x" * 1000)
    got = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert b"431 Request Header Fields Too Large" in got


async def test_a_body_in_many_small_parts_is_read(http, deployed):
    async def parts():
        yield b'{"type": "echo", "payload": "'
        for _ in range(15_000):
            yield b"x"
        yield b'"}'

    reply = await http.post("/jobs", content=parts(), headers={"Content-Type": "application/json"})

    assert (reply.status_code, len(reply.json()["payload"])) == (202, 15_000)


@pytest.fixture
async def large(http, deployed, redis, settings):
    """The path of a job whose progress, and so whose every event, is large; and a function that reports one."""
    job = (await http.post("/jobs", json={"type": "echo", "delay": "1h"})).json()
    keys = Keys(settings.prefix)
    await redis.hset(keys.job(0, job["id"]), "progress", codec.pack({"note": "x" * 1_000_000}))

    async def report():
        await redis.xadd(keys.events(0), {"jobs": codec.pack_batch([(job["id"], "echo", "progress", 0)])})

    return f"/jobs/{job['id']}", report


async def test_a_client_that_does_not_read_is_let_go(monkeypatch, http, large):
    path, report = large
    monkeypatch.setattr(bounded_protocol, "READ_WITHIN", 0.3)
    reading = socket.create_connection((http.base_url.host, http.base_url.port))
    reading.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    await asyncio.to_thread(reading.recv, 10)

    async with asyncio.timeout(20):
        while not was_let_go(reading):
            await report()
            await asyncio.sleep(0.01)
    reading.close()


def was_let_go(reading):
    """Whether the gateway has closed its end; the client is told behind all that it has not read."""
    ends = [f"{end[1]:04X}" for end in (reading.getpeername(), reading.getsockname())]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    states = [state for _, local, remote, state, *_ in lines if [end[-4:] for end in (local, remote)] == ends]
    return states != ["01"]  # TCP_ESTABLISHED


async def test_a_slow_client_that_reads_is_kept(monkeypatch, http, large):
    path, report = large
    monkeypatch.setattr(bounded_protocol, "READ_WITHIN", 0.3)
    got = 0
    async with http.stream("GET", path, headers={"Accept": "text/event-stream"}) as reply, asyncio.timeout(20):
        await report()
        await report()
        async for chunk in reply.aiter_raw():
            got += len(chunk)
            if got > 2_000_000:
                break
            await asyncio.sleep(0.02)

    assert got > 2_000_000
