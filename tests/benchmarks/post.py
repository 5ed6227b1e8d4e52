"""POST /jobs and GET /jobs/{id} beside bare Starlette routes that parse and return the same, under wrk.

Both without access keys and with one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile

import httpx
import uvloop

from runtime import settings
from runtime.client import Lanework
from runtime.store.access import issue
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import HERE, Server, cpu_seconds, free_port, lanework, process, server, until

BODY = {"type": "noop", "payload": {"x": 1}}
POST = f"wrk.method='POST' wrk.headers['Content-Type']='application/json' wrk.body='{json.dumps(BODY)}' "
_SECONDS = 3
_CONNECTIONS = 64


def measure() -> dict[str, float]:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed for the post measure (Debian: apt install wrk)")
    port, bare_port = free_port(), free_port()
    with server() as one:
        uvloop.run(_deploy(one))
        with lanework(one, "gateway", "--port", str(port)) as gateway:
            until(lambda: _answers(port), "gateway")
            reply = httpx.post(f"http://127.0.0.1:{port}/jobs", json=BODY, trust_env=False).text
            shown = f"/jobs/{json.loads(reply)['id']}"
            with process(sys.executable, str(HERE / "bare.py"), str(bare_port), reply) as bare:
                until(lambda: _answers(bare_port), "bare route")
                _load(bare_port), _load(port)
                figures = _compared("POST /jobs", "/jobs", (port, gateway.pid), (bare_port, bare.pid), POST)
                figures |= _compared("GET /jobs/{id}", shown, (port, gateway.pid), (bare_port, bare.pid), "")
                with_key = f"wrk.headers['Authorization']='Bearer {uvloop.run(_key(one))}'"
                until(lambda: not _is_open(port), "a gateway that asks for keys")
                named = "POST /jobs with a key"
                figures |= _compared(named, "/jobs", (port, gateway.pid), (bare_port, bare.pid), POST + with_key)
                named = "GET /jobs/{id} with a key"
                return figures | _compared(named, shown, (port, gateway.pid), (bare_port, bare.pid), with_key)


def _compared(name: str, path: str, ours: tuple[int, int], bare: tuple[int, int], script: str) -> dict[str, float]:
    """`ours`, `bare`: port and process."""
    theirs, their_cpu = _measured(*bare, path, script)
    rate, our_cpu = _measured(*ours, path, script)
    return {
        f"{name}, requests/s": rate,
        f"{name} / bare route": rate / theirs,
        f"µs of CPU a {name}": our_cpu,
        f"bare CPU / CPU of {name}": their_cpu / our_cpu,
    }


def _measured(port: int, pid: int, path: str, script: str) -> tuple[float, float]:
    before = cpu_seconds(pid)
    rate, requests = _load(port, path, script)
    return rate, (cpu_seconds(pid) - before) / requests * 1e6


def _load(port: int, path: str = "/jobs", script: str = POST) -> tuple[float, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f"{script}\n")
        file.flush()
        url = f"http://127.0.0.1:{port}{path}"
        command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}", "-s", file.name, url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(f"requests were refused:\n{told}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    count = re.search(r"(\d+) requests in", told)
    assert rate
    assert count
    return float(rate[1]), int(count[1])


async def _deploy(one: Server) -> None:
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await deploy(client)


async def _key(one: Server) -> str:
    key, token = issue("bench", ["enqueue", "read"])
    async with Lanework(settings.load({}, redis_url=one.url)) as client:
        await client.access.add(key)
    return str(token)


def _is_open(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/jobs?limit=1", trust_env=False).is_success


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    except httpx.HTTPError:
        return False
    return True
