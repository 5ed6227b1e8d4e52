"""Which addresses jobs may send to."""

import socket

import httpx
import pytest

from runtime import outbound
from runtime.errors import Permanent


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address):
    assert outbound.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:db8::1",
        "64:ff9b:1::7f00:1",
        "fec0::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "2606:2800:21f:cb07:0:5efe:10.0.0.1",
        "2606:2800:21f:cb07:200:5efe:10.0.0.1",
        "5f00::1",
        "192.88.99.1",
        "168.63.129.16",
        "192.0.0.8",
    ],
)
def test_all_others_are_not(address):
    assert not outbound.is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0"]
)
async def test_no_way_to_write_a_private_address_leads_there(host):
    async with outbound.client(allow_private=False) as http:
        with pytest.raises((Permanent, httpx.ConnectError), match=r"private network|Name or service|not known"):
            await http.get(f"http://{host}:1/")


async def test_a_name_is_resolved_once_and_the_connection_goes_there(monkeypatch):
    resolved = []

    def rebinding(host, port, **more):
        resolved.append(host)
        address = "127.0.0.1" if len(resolved) > 1 else "93.184.215.14"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    async def connect(self, request):
        connected.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return httpx.Response(204)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", connect)
    async with outbound.client(allow_private=False) as http:
        await http.get("https://rebind.example/")
        with pytest.raises(Permanent, match="private network"):
            await http.get("https://rebind.example/")

    assert connected == [("93.184.215.14", "rebind.example", "rebind.example")]
