"""One POST /jobs beside a bare Starlette route that parses the same and returns the same, under wrk."""

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
from tests.benchmarks.drain import deploy
from tests.benchmarks.machine import HERE, Server, cpu_seconds, free_port, lanework, process, server, until

BODY = {"type": "noop", "payload": {"x": 1}}
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
            with process(sys.executable, str(HERE / "bare.py"), str(bare_port), reply) as bare:
                until(lambda: _answers(bare_port), "bare route")
                _load(bare_port), _load(port)
                theirs, their_cpu = _measured(bare_port, bare.pid)
                ours, our_cpu = _measured(port, gateway.pid)
    return {
        "POST /jobs, requests/s": ours,
        "bare route, requests/s": theirs,
        "POST /jobs / bare route": ours / theirs,
        "µs of CPU a POST /jobs": our_cpu,
        "µs of CPU a bare request": their_cpu,
        "bare CPU / POST /jobs CPU": their_cpu / our_cpu,
    }


def _measured(port: int, pid: int) -> tuple[float, float]:
    before = cpu_seconds(pid)
    rate, requests = _load(port)
    return rate, (cpu_seconds(pid) - before) / requests * 1e6


def _load(port: int) -> tuple[float, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        body = json.dumps(BODY)
        script.write(f"wrk.method='POST' wrk.headers['Content-Type']='application/json' wrk.body='{body}'\n")
        script.flush()
        url = f"http://127.0.0.1:{port}/jobs"
        command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}", "-s", script.name, url]
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


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    except httpx.HTTPError:
        return False
    return True
