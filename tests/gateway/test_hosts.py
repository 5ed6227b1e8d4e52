"""A gateway on loopback answers to loopback names only."""

import asyncio
import socket

import pytest

from runtime.gateway.hosts import Hosts
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
