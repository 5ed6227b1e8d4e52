"""HTTP to addresses that somebody else names: never to this machine or its network, unless that is allowed.

A name is resolved once, and the connection goes to the address that was looked at: a name that leads somewhere else
the next time (DNS rebinding) gains nothing. Redirects are not followed, and proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from functools import cache
from typing import Any

import httpx

from runtime import settings
from runtime.errors import Permanent

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def client(*, allow_private: bool | None = None, timeout: float = 10.0, **options: Any) -> httpx.AsyncClient:
    """A client for URLs that came with a job. `allow_private`: None for what LANEWORK_ALLOW_PRIVATE says.
    `timeout`: seconds for each step of a request. `options`: of httpx.AsyncClient.

    A request raises Permanent where the host has no address but private ones, and httpx.HTTPError.
    """
    allowed = settings.load().allow_private if allow_private is None else allow_private
    transport = (httpx.AsyncHTTPTransport if allowed else _PublicTransport)(verify=_tls())
    return httpx.AsyncClient(
        transport=transport, timeout=timeout, trust_env=False, follow_redirects=False, **options
    )


class _PublicTransport(httpx.AsyncHTTPTransport):
    """Connects to public addresses alone; the certificate is still that of the name."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.raw_host.decode("ascii")
        address = await _public_address(name, request.url.port or (443 if request.url.scheme == "https" else 80))
        addressed = httpx.Request(  # errors and logs still name what was asked for
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": name},
        )
        return await super().handle_async_request(addressed)


async def _public_address(name: str, port: int) -> str:
    """Raises Permanent, and httpx.ConnectError for a name that is not known."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{name}: {error}") from error
    for *_, (address, *_) in found:
        if is_public(str(address)):
            return str(address)
    raise Permanent(f"{name} is in a private network, where jobs may not send; LANEWORK_ALLOW_PRIVATE=1 allows it")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet's: not private, loopback, link-local, reserved or multicast, nor
    one of IPv6 that stands for such an address of IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, ip.teredo[1] if ip.teredo else None]
        inner += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)] if ip in _NAT64 else []
        if any(v4 is not None and not is_public(str(v4)) for v4 in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


@cache
def _tls() -> ssl.SSLContext:
    """One for all: making it takes tens of milliseconds."""
    return httpx.create_ssl_context()
