"""A gateway on loopback answers to loopback names only, and requests that never end are ended."""

import asyncio
import socket

import pytest

from runtime.gateway import protocol
from runtime.gateway.hosts import Hosts
from tests.conftest import deploy
from tests.servers import free_port


def refused(settings, name, **given):
    hosts = Hosts(settings.model_copy(update=given))
    return hosts.refuse({"headers": [(b"host", name.encode())]}) is not None


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "LOCALHOST."]
)
def test_loopback_answers_to_loopback(settings, host):
    assert not refused(settings, host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
    ],
)
def test_loopback_answers_to_no_other_name(settings, host):
    assert refused(settings, host)


def test_another_address_answers_to_any_name_or_to_those_it_is_given(settings):
    assert not refused(settings, "jobs.example", host="0.0.0.0")
    assert refused(settings, "evil.example", host="0.0.0.0", hosts=("jobs.example",))
    assert not refused(settings, "jobs.example:443", hosts=("jobs.example",))
    assert not refused(settings, "localhost:8080", host="0.0.0.0", hosts=("jobs.example",))


@pytest.mark.parametrize("host", ["10.0.0.1:8080", "[fd00::1]"])
def test_an_address_is_answered_to_whatever_the_names(settings, host):
    """Probes and scrapers come by addresses; a page elsewhere comes by its name."""
    assert not refused(settings, host)
    assert not refused(settings, host, host="0.0.0.0", hosts=("jobs.example",))


def test_a_request_without_a_name_is_answered(settings):
    assert Hosts(settings).refuse({"headers": []}) is None


async def test_a_foreign_host_is_a_problem_and_nothing_redirects_there(http):
    foreign = await http.get("/jobs", headers={"Host": "evil.example"})
    redirected = await http.get("/jobs/", headers={"Host": "evil.example"})

    assert (foreign.status_code, foreign.json()["type"]) == (421, "/problems/host-unknown")
    assert redirected.status_code == 421
    assert (await http.get("/jobs/")).status_code == 404


SLOW = {
    "nothing": b"",
    "half of a head": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n",
    "half of a body": b"POST /jobs HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 100\r\n\r\n{",
    "a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /jobs HTTP/1.1\r\n",
}


@pytest.mark.parametrize("sent", SLOW)
async def test_a_request_that_never_ends_is_ended(monkeypatch, settings, sent):
    import uvicorn

    from runtime.gateway.app import create_app
    from tests.conftest import _Server

    monkeypatch.setattr(protocol, "REQUEST_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(settings), log_config=None, http=protocol.TimedProtocol)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        writer.write(SLOW[sent])
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.should_exit = True
        await serving

    assert b"408 Request Timeout" in got
    assert (b"200 OK" in got) == (sent == "a second request")


async def test_a_pipelined_request_is_not_ended_while_the_one_before_it_is_answered(monkeypatch, settings, client):
    import uvicorn

    from runtime.gateway.app import create_app
    from tests.conftest import _Server

    async def f() -> None: ...

    await deploy(client, f=f)
    job = await client.enqueue("f")
    monkeypatch.setattr(protocol, "REQUEST_WITHIN", 0.3)
    slow = f"GET /jobs/{job.id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=1\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(settings), log_config=None, http=protocol.TimedProtocol)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        writer.write(slow.encode() + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.should_exit = True
        await serving

    assert (got.count(b"HTTP/1.1 202 Accepted"), got.count(b"HTTP/1.1 200 OK")) == (1, 1)
    assert b"408 Request Timeout" not in got


async def test_the_command_refuses_foreign_names_too(process, until):
    port = free_port()
    gateway = process("gateway", "--port", str(port))
    await asyncio.to_thread(gateway.await_said, "gateway.started")

    def answers():
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
                return b"421" in one.recv(1000)
        except OSError:
            return False

    await asyncio.to_thread(until, answers, "refusal")
