"""Ten thousand odd requests, the same ones each time: each is answered, none is a fault, and nothing grows.

They go to every path that the gateway has. Most are right but for one or two odd parts.
"""

import asyncio
import json
import random
import re
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from runtime.gateway.app import create_app
from runtime.gateway.connect import is_method
from tests.servers import free_port

COUNT = 10_000
AT_ONCE = 20
ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY"]
USUAL = ["echo", "add", "ints", "union", "01923f5e-0000-7000-8000-000000000000", "default", "job-invalid"]
TEXTS = [
    "",
    "0",
    "-1",
    "1e400",
    "NaN",
    "a" * 3000,
    "../..",
    "%00",
    "\x00",
    "ü",
    "\u202e",
    "😀",
    "*",
    "null",
    "'; DROP",
]
TEXTS += [
    "{}",
    "[]",
    "a:b",
    "a,b",
    "9" * 400,
    " ",
    "\n",
    "payload",
    "1",
    "2030-01-31T09:00:00Z",
    "0.001",
    "pending",
]
NAMES = ["limit", "cursor", "type", "status", "wait", "delay", "priority", "target", "error", "before", "unique"]
FIELDS = ["payload", "priority", "max_attempts", "run_at", "delay", "ttl", "start_before", "backoff", "unique"]
FIELDS += ["then", "idempotency_key", "job_type", "input", "type", "odd"]
HEADERS = ["Prefer", "If-None-Match", "Idempotency-Key", "Authorization", "Last-Event-ID", "X-Request-Id", "Origin"]
HEADERS += ["Lanework-Delay", "Lanework-Unique", "Content-Encoding", "Sec-Fetch-Site", "Range", "X-Forwarded-Host"]
KINDS = ["application/x-ndjson", "text/plain", "application/cbor", "", "a/b+json"]
RAW = [
    b"",
    b"{",
    b"[" * 5000,
    b'{"a":' * 3000,
    b"\xff\xfe",
    b'"\\ud800"',
    b"1e999",
    b"-0",
    b"NaN",
    b"null",
    b" " * 30_000,
]
NUMBERS = [0, -1, 1, 2**63, 2**64, -(2**70), 0.0, -1.5, 1e308, float("inf"), float("nan")]


class Odd:
    """Makes requests to the paths given, each with its methods."""

    def __init__(self, paths, seed):
        self._paths = paths
        self._random = random.Random(seed)

    def request(self):
        pattern = "/jobs" if self._random.random() < 0.2 else self._pick(list(self._paths))
        method = self._pick(self._paths[pattern]) if self._often() else self._pick(ANY_METHOD)
        path = re.sub("{[^}]+}", lambda _: quote(self._text(), safe="") or "-", pattern)
        query = "&".join(f"{self._pick(NAMES)}={quote(self._text())}" for _ in range(self._few()))
        headers = {self._pick(HEADERS): self._text(least=" ").strip().encode() for _ in range(self._few())}
        kind = "application/json" if self._often() else self._pick(KINDS)
        return method, f"{path}?{query}", {"Content-Type": kind, **headers}, self._body(pattern)

    def _pick(self, choices):
        return self._random.choice(choices)

    def _often(self):
        return self._random.random() < 0.9

    def _few(self):
        return self._pick([0, 0, 0, 1, 2])

    def _text(self, least=""):
        text = self._pick(USUAL if self._random.random() < 0.7 else TEXTS)
        return "".join(one for one in text if one >= least)

    def _body(self, pattern):
        if not self._often():
            return self._pick(RAW)
        if pattern in ("/jobs", "/jobs/batch"):
            jobs = [self._job() for _ in range(3)]
            return json.dumps(jobs if pattern == "/jobs/batch" and self._often() else jobs[0]).encode()
        return json.dumps(self._value(3)).encode()

    def _job(self):
        job = {"type": self._pick(["echo", "echo", "add", "ints", "union"]), "payload": self._value(3)}
        return job | {self._pick(FIELDS): self._value(2) for _ in range(self._few())}

    def _value(self, depth):
        kind = self._random.randrange(6 if depth else 4)
        if kind == 4:
            return [self._value(depth - 1) for _ in range(self._random.randrange(4))]
        if kind == 5:
            return {self._text(): self._value(depth - 1) for _ in range(self._random.randrange(4))}
        return [None, self._pick([True, False, "\ud800"]), self._text(), self._pick(NUMBERS)][kind]


@pytest.fixture
async def gateway(process, deployed, until):
    port = free_port()
    one = process("gateway", "--port", str(port), BODY_LIMIT="20000")
    await asyncio.to_thread(one.await_said, "gateway.started")
    limits = httpx.Limits(max_connections=AT_ONCE)
    url = f"http://127.0.0.1:{port}"
    retrying = httpx.AsyncHTTPTransport(retries=5, limits=limits)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10, transport=retrying) as http:
        yield one, http


async def test_no_request_is_a_fault_and_nothing_grows(gateway, settings):
    process, http = gateway
    odd = Odd({route.path: route.app.methods for route in create_app(settings).routes}, seed=1)
    requests = [odd.request() for _ in range(COUNT)]

    first = await send_all(http, requests[: COUNT // 2])
    before = memory(process)
    second = await send_all(http, requests[COUNT // 2 :])
    grown = memory(process) - before

    statuses, faults = first[0] + second[0], first[1] + second[1]
    assert faults == []
    assert min(statuses[status] for status in (200, 202, 207, 400, 404, 405, 413, 415, 422)) > 0
    assert grown < 20 << 20
    assert not process.said("Traceback")


async def send_all(http, requests):
    """How often each status came, and each reply that is a fault, with its request."""
    statuses, faults, left = Counter(), [], iter(requests)

    async def send():
        for method, path, headers, body in left:
            reply = await http.request(method, path, headers=headers, content=body)
            statuses[reply.status_code] += 1
            kind = reply.headers.get("content-type", "")
            is_call = method == "POST" and is_method(path.partition("?")[0])
            wanted = "application/json" if is_call else "application/problem+json"
            if reply.status_code >= 500 or (reply.status_code >= 400 and kind != wanted):
                faults.append((reply.status_code, method, path, headers, body[:200], reply.text[:200]))

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return statuses, faults


def memory(process):
    """Bytes that the process holds."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
