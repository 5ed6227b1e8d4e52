"""A fault of the gateway's own: the client learns that there was one, the log where, and neither any secret."""

import os
import subprocess
import sys

import httpx
import pytest

from tests.servers import free_port

SECRET = "planted-" + "secret"
FAULTY = """
from runtime.client import Lanework
from runtime.cli.main import main

async def fails(self, *given, **named):
    everything = (given, named)
    raise RuntimeError("a fault of its own")

for method in ("submit", "get", "page", "cancel", "pause"):
    setattr(Lanework, method, fails)
main()
"""
REQUESTS = [
    ("POST", "/jobs", {"json": {"type": "add", "payload": {"token": SECRET}}}),
    ("GET", "/jobs/any", {}),
    ("GET", "/jobs?type=add", {}),
    ("DELETE", "/jobs/any", {}),
    ("POST", "/functions/add/pause", {}),
]


@pytest.fixture(params=["json", "console"])
def faulty(request, settings, tmp_path, until):
    """A gateway that fails at whatever it is asked; gives a client of it, and its log."""
    port, log = free_port(), tmp_path / "gateway.log"
    env = os.environ | {
        "LANEWORK_REDIS_URL": settings.redis_url,
        "LANEWORK_PREFIX": settings.prefix,
        "LANEWORK_PORT": str(port),
        "LANEWORK_LOG_FORMAT": request.param,
    }
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", FAULTY, "gateway"], env=env, stdout=file, stderr=file)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        try:
            until(lambda: "gateway.started" in log.read_text() and answers(http), "gateway", log.read_text)
            yield http, log
        finally:
            process.terminate()
            process.wait(20)


def answers(http):
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


def test_a_fault_is_a_500_and_its_traceback_has_no_secret(faulty):
    http, log = faulty

    for number, (method, path, more) in enumerate(REQUESTS):
        headers = {"Authorization": f"Bearer {SECRET}", "Idempotency-Key": SECRET, "Cookie": f"session={SECRET}"}
        headers["X-Request-Id"] = f"request-{number}"
        reply = http.request(method, path, headers=headers, **more)

        assert (reply.status_code, reply.json()["type"]) == (500, "/problems/internal-error"), (method, path)
        assert "a fault of its own" not in reply.text
        assert reply.headers["x-request-id"] == f"request-{number}"

    said = log.read_text()
    assert said.count("request.failed") == len(REQUESTS)
    assert said.count("a fault of its own") >= len(REQUESTS)
    assert "fails" in said
    assert all(f"request-{number}" in said for number in range(len(REQUESTS)))
    assert SECRET not in said
