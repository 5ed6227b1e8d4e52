"""The OpenAPI 3.1 document of a gateway and the functions that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from runtime.gateway.access.scopes import scope_of
from runtime.gateway.openapi import events, job_paths, outputs, parts, past, paths, schemas, stats
from runtime.gateway.openapi import functions as of_functions
from runtime.jobs import built_in
from runtime.settings import Settings
from runtime.store.registry import Deployed

_TAGS = {
    "Jobs": "Enqueue jobs, look at them, wait for them.",
    "Events": "Publish events, upon which functions that subscribe to them run.",
    "Functions": "What is deployed; each function's jobs by its own schema.",
    "Queues": "Pause, resume and clear.",
    "Failed jobs": "What failed is kept for a while, and can be run again.",
    "Health": "For probes and Prometheus.",
    "Description": "This document and its pages.",
}
_ABOUT = (
    "Post a job and read its result. A job is a request to run one function on one payload; functions are what "
    "workers have published, and each one's payload is checked before its job is stored. Errors are problems "
    "(RFC 9457)."
)
_ACCESS_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "an access key, lw_…; `lanework keys new` makes one",
}


def build(deployed: Mapping[str, Deployed], settings: Settings, *, secured: bool) -> dict[str, Any]:
    """`deployed`: functions by name or alias. `secured`: whether requests need an access key."""
    loaded = {name: function for name, function in deployed.items() if function.broken is None}
    known = list(loaded)
    loaded = {name: function for name, function in loaded.items() if name not in built_in.NAMES}
    operations = paths.operations(settings, known, _sample(loaded))
    needs_payload = {name: bool(function.schema.get("required")) for name, function in loaded.items()}
    components = schemas.components(settings, needs_payload)
    for part in (events, outputs, stats, past):
        operations |= part.operations()
        components |= part.components()
    for name, function in loaded.items():
        components |= of_functions.components(function)
        sample = of_functions.example(function)
        operations[f"/functions/{name}/jobs"] = {
            "post": job_paths.function_operation(name, function.doc, sample, settings)
        }
    described: dict[str, Any] = {"schemas": components, "responses": parts.problem_responses()}
    if secured:
        described["securitySchemes"] = {"accessKey": _ACCESS_KEY}
        _secure(operations)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lanework",
            "version": version("lanework"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "this gateway"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": operations,
        "components": described,
        "security": [],
    }


def _sample(functions: Mapping[str, Deployed]) -> dict[str, Any]:
    """A job that could be enqueued: of the first function of whose payload there is an example."""
    for name, function in functions.items():
        payload = of_functions.example(function)
        if payload is not None:
            return {"type": name, "payload": payload}
    return {"type": next(iter(functions), "math")}


def _secure(operations: Mapping[str, Mapping[str, Any]]) -> None:
    """Names the scope that each needs, and the problems of a key that has it not."""
    for path, methods in operations.items():
        for method, operation in methods.items():
            scope = scope_of(method.upper(), _template(path))
            if scope is not None:
                operation["security"] = [{"accessKey": [scope]}]
                for status in ("401", "403", "429"):
                    operation["responses"].setdefault(status, {"$ref": f"#/components/responses/{status}"})


def _template(path: str) -> str:
    """Each function's own path to enqueue is one route."""
    return "/functions/{function}/jobs" if path.startswith("/functions/") and path.endswith("/jobs") else path
