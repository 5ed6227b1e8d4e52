"""Which scope a request needs."""

from __future__ import annotations

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


def scope_of(method: str, path: str) -> str | None:
    """None for what everybody may see, probes and pages that tell nothing of this system, and what asks itself."""
    if path in OPEN or path in ITS_OWN:
        return None
    if path in ("/metrics", "/scale/{function}"):
        return "metrics"
    if method == "GET":
        return "read"
    return "enqueue" if method == "POST" and path in _ENQUEUE else "operate"
