"""Which scope a request needs."""

from __future__ import annotations

import re

_RPC = re.compile(r"/[a-z0-9.]+\.JobService/[A-Za-z]+")
OPEN = frozenset(
    (
        "/docs",
        "/docs/{file}",
        "/health",
        "/healthz",
        "/problems/{code}",
        "/readyz",
        "/swagger",
        "/swagger/index.html",
    )
)
ITS_OWN = frozenset(("/hooks/{function}",))  # whose handler asks for access itself
OF_ALL = frozenset(("/metrics",))  # what shows all functions at once
_ENQUEUE = frozenset(("/job", "/jobs", "/jobs/batch", "/functions/{function}/jobs", "/events"))


# of methods of services, whether they come by gRPC or by Connect
_METHODS = {
    "EnqueueJob": "enqueue",
    "EnqueueJobs": "enqueue",
    "GetJob": "read",
    "ListJobs": "read",
    "WatchJob": "read",
    "GetStats": "read",
    "CancelJob": "operate",
    "PauseFunction": "operate",
    "ResumeFunction": "operate",
    "Work": "work",
}
WATCHING_METHODS = frozenset(("WatchJob",))  # streams, which the client counts
COUNTED_METHODS = frozenset(("EnqueueJobs", "Work"))  # streams that count as long as their call lasts
_OPEN_SERVICES = frozenset(("grpc.health.v1.Health",))


def scope_of_method(service: str, method: str) -> str | None:
    """None for what everybody may ask."""
    return None if service in _OPEN_SERVICES else _METHODS.get(method, "admin")


def scope_of(method: str, path: str) -> str | None:
    """None for what everybody may see, probes and pages that tell nothing of this system, and what asks itself."""
    if path in OPEN or path in ITS_OWN:
        return None
    if _RPC.fullmatch(path):
        service, _, name = path[1:].partition("/")
        return scope_of_method(service, name)
    if path in ("/metrics", "/scale/{function}"):
        return "metrics"
    if method == "GET":
        return "read"
    return "enqueue" if method == "POST" and path in _ENQUEUE else "operate"
