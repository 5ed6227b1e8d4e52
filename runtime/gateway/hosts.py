"""Which names the gateway answers to.

A page elsewhere can let its own name point to 127.0.0.1 (DNS rebinding), and would then be of the same origin as a
gateway there; its requests carry its name all the same.
"""

from __future__ import annotations

import ipaddress
import re

from starlette.types import Scope

from runtime.gateway.requests import named_headers
from runtime.settings import Settings

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]*)(?::[0-9]{1,5})?")


class Hosts:
    """The Host header (RFC 9110, section 7.2) of each request, held against the settings."""

    def __init__(self, settings: Settings) -> None:
        self._named = frozenset(name.lower().strip("[]").rstrip(".") for name in settings.hosts)
        self._any = not self._named and not is_loopback(settings.host)
        self._known: set[bytes] = set()  # headers that were accepted: nearly all requests carry the same

    def refuse(self, scope: Scope) -> str | None:
        """Why the request is not for this gateway, or None."""
        if self._any:
            return None
        host = named_headers(scope).get(b"host")
        # a probe without a name, or at an address, is no page elsewhere: that always comes by its name
        if host is None or host in self._known:
            return None
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        name = found[1].strip("[]").rstrip(".") if found else ""
        if name in self._named or name == "localhost" or name.endswith(".localhost") or _is_address(name):
            if len(self._known) < 100:
                self._known.add(host)
            return None
        return "the gateway does not answer to the name in the Host header; LANEWORK_HOSTS lists those it does"


def is_loopback(host: str) -> bool:
    """Whether nobody beyond this machine reaches what listens there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
