"""What the operator sees: health, metrics, and a gateway whose Redis is away."""

import asyncio
import shutil
import subprocess
import time

import httpx
import pytest

from tests.gateway.conftest import _listens
from tests.servers import free_port, missing


async def test_a_gateway_with_redis_and_functions_is_alive_and_ready(http, deployed):
    for path in ("/healthz", "/readyz", "/health"):
        assert (await http.get(path)).json() == {"status": "ok"}


@pytest.fixture
async def severed(process, until):
    """A gateway in front of what `start` makes listen, or of nothing."""

    async def start(redis_url):
        port = free_port()
        process("gateway", "--port", str(port), REDIS_URL=redis_url)
        until(lambda: _listens(port), "gateway")
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)

    return start


async def ask_all(client):
    asked = [
        client.post("/jobs", json={"type": "echo"}),
        client.get("/jobs"),
        client.get("/jobs/01890000-0000-7000-8000-000000000000"),
        client.get("/functions"),
        client.get("/readyz"),
    ]
    for call in asked:
        begun = time.monotonic()
        yield await call, time.monotonic() - begun


async def test_without_redis_requests_are_refused_with_a_time_to_retry(severed):
    async with await severed("redis://127.0.0.1:1") as client:
        async for reply, took in ask_all(client):
            assert (reply.status_code, reply.json()["type"]) == (503, "/problems/store-unavailable")
            assert reply.headers["retry-after"] == "1"
            assert took < 2.0
        assert (await client.get("/healthz")).status_code == 200
        assert "lanework_store_up 0.0" in (await client.get("/metrics")).text


async def test_a_redis_that_hangs_is_no_hang_here(severed):
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        async with await severed(f"redis://127.0.0.1:{port}") as client:
            async for reply, took in ask_all(client):
                assert reply.status_code == 503
                assert took < 2.0


async def test_metrics_are_clean_and_count_what_happened(http, worker, settings, client):
    promtool = shutil.which("promtool")

    async def counted(a: int, b: int) -> int:
        return a + b

    async with worker(counted=counted):
        job = (await http.post("/jobs", json={"type": "counted", "payload": {"a": 1, "b": 2}})).json()
        await http.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=20"})
        text = (await http.get("/metrics")).text

    for line in (
        'lanework_jobs_enqueued_total{function="counted",lane="normal"} 1.0',
        'lanework_jobs_waiting{function="counted",lane="normal"} 0.0',
        'lanework_jobs_running{function="counted",lane="normal"} 0.0',
        "lanework_store_up 1.0",
        "lanework_workers 1.0",
    ):
        assert line in text
    assert job["id"] not in text
    if promtool is None:
        missing("promtool")
    assert_clean(promtool, text)


async def test_a_workers_metrics_are_clean_and_it_says_when_it_is_healthy(
    process, client, settings, tmp_path, until
):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "shaky.py").write_text(
        "from runtime import Retry, function\n"
        "@function(retry=Retry(max_attempts=2, base=0.01))\n"
        "async def handle(ctx: __import__('runtime').Context):\n"
        "    if ctx.job.attempt == 1: raise ValueError\n"
    )
    process("worker", "--functions-dir", str(folder)).await_said("worker.started")
    job = await client.enqueue("shaky")
    await client.wait(job.id, 20)
    (info,) = await client.workers()

    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(info.metrics)).text
        health = await http.get(info.metrics.replace("/metrics", "/healthz"))

    assert health.json() == {"status": "ok"}
    for line in (
        'lanework_attempts_settled_total{function="shaky",lane="normal",outcome="completed"} 1.0',
        'lanework_attempts_settled_total{function="shaky",lane="normal",outcome="retry"} 1.0',
        'lanework_jobs_retried_total{function="shaky",lane="normal"} 1.0',
        'lanework_attempts_in_flight{function="shaky",lane="normal"} 0.0',
        'lanework_attempt_run_seconds_count{function="shaky",lane="normal"} 2.0',
        'lanework_job_wait_seconds_bucket{function="shaky",lane="normal",le="+Inf"} 2.0',
        f"lanework_worker_slots {settings.concurrency + settings.processes}.0",
    ):
        assert line in text
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool")
    assert_clean(promtool, text)


def assert_clean(promtool, text):
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def test_processes_that_disagree_are_refused_at_the_start(process, client):
    gateway = process("gateway", "--port", str(free_port()), LANES="slow,fast")

    assert gateway.popen.wait(20) == 3
    assert gateway.said("store-mismatch")
    assert gateway.said("LANEWORK_LANES")


async def test_every_reply_has_a_request_id(http, deployed):
    own = await http.get("/healthz", headers={"X-Request-Id": "abc-1"})
    refused = [await http.get("/healthz", headers={"X-Request-Id": odd}) for odd in ("", "a b", "x" * 200)]
    others = [await http.get("/nowhere"), await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})]

    assert own.headers["x-request-id"] == "abc-1"
    made = {reply.headers["x-request-id"] for reply in refused + others}
    assert len(made) == 5
    assert all(made)
