"""HTTP to addresses that somebody else names: never to this machine or its network, unless that is allowed.

A name is resolved once, and the connection goes to the address that was looked at: a name that leads somewhere else
the next time (DNS rebinding) gains nothing. Redirects are not followed, and proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import httpx

from runtime import settings
from runtime.errors import Permanent

# a connection that is kept is known by its address, and another name there may not have its certificate
_NOT_KEPT = httpx.Limits(max_keepalive_connections=0)
_LOOK_UP = 10.0  # seconds
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

_ISATAP = 0x5EFE  # RFC 5214: the middle of an address that ends in one of IPv4
_REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "64:ff9b:1::/48",  # RFC 8215: a translator's own
        "5f00::/16",  # RFC 9602
        "192.0.0.0/24",
        "192.88.99.0/24",  # RFC 7526: deprecated relays
        "168.63.129.16/32",  # a cloud's host, from within its machines
    )
]


def client(*, allow_private: bool | None = None, timeout: float = 10.0, **options: Any) -> httpx.AsyncClient:
    """A client for URLs that came with a job. `allow_private`: None for what LANEWORK_ALLOW_PRIVATE says.
    `timeout`: seconds for each step of a request. `options`: of httpx.AsyncClient.

    A request raises Permanent where the host has no address but private ones, and httpx.HTTPError.
    """
    allowed = settings.load().allow_private if allow_private is None else allow_private
    transport = (httpx.AsyncHTTPTransport if allowed else _PublicTransport)(verify=_tls(), limits=_NOT_KEPT)
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
    look = partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(_LOOK_UP):
            found = await asyncio.get_running_loop().run_in_executor(_resolvers(), look)
    except TimeoutError:
        raise httpx.ConnectTimeout(f"{name}: its address was not found within {_LOOK_UP:g} s") from None
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
        inside = ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if inside is not None:
            return is_public(str(inside))
        if ip.sixtofour or ip.teredo or ip.is_site_local or (int(ip) >> 32) & 0xFDFFFFFF == _ISATAP:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or any(ip in net for net in _REFUSED))


@cache
def _resolvers() -> ThreadPoolExecutor:
    """Threads of their own: a name server that does not answer keeps nothing else waiting."""
    return ThreadPoolExecutor(8, thread_name_prefix="resolver")


@cache
def _tls() -> ssl.SSLContext:
    """One for all: making it takes tens of milliseconds."""
    return httpx.create_ssl_context()
