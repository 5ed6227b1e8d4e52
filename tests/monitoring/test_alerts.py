"""Each alert that is shipped fires when the harm is done that it is about, and not before."""

from __future__ import annotations

import asyncio
import os
import signal

import httpx
import pytest

from runtime.store.keys import Keys
from runtime.values import codec
from tests.servers import DEADLINE, until

ECHO = "async def handle(payload): return payload"
SLEEPS = "import asyncio\nasync def handle(seconds: float): await asyncio.sleep(seconds)"


@pytest.fixture
def gateway(process, prometheus):
    """`gateway(…)` starts a gateway that Prometheus scrapes, and gives a client of it; no alert fires by then."""
    opened = []

    def start(**env):
        one = process("gateway", PORT=str(prometheus.gateway), **env)
        http = httpx.Client(base_url=f"http://127.0.0.1:{prometheus.gateway}", timeout=10, trust_env=False)
        opened.append(http)
        until(lambda: _answers(http), "gateway", lambda: one.log.read_text())
        prometheus.await_data("lanework_store_up")
        until(lambda: not prometheus.firing(), "quiet")
        http.process = one
        return http

    yield start
    for http in opened:
        http.close()


def _answers(http):
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def scraped(start, prometheus):
    """`scraped({"name": module}, …)` starts a worker that Prometheus scrapes beside the others."""
    ports = iter(prometheus.workers)

    def begin(modules, **env):
        port = next(ports)
        worker = start(modules, WORKER_PORT=str(port), LEASE="1", **env)
        worker.await_said("worker.started")
        prometheus.await_data(f'up{{instance="127.0.0.1:{port}"}} == 1')
        return worker

    return begin


def post(http, type, payload=None, count=1):
    for _ in range(count):
        assert http.post("/jobs", json={"type": type, "payload": payload}).status_code == 202


async def settled(client, count, type):
    async with asyncio.timeout(DEADLINE):
        while len([job for job in (await client.page(limit=100, type=type)).jobs if job.finished_at]) < count:
            await asyncio.sleep(0.02)


def test_a_gateway_that_is_killed(gateway, prometheus):
    http = gateway()

    http.process.stop(signal.SIGKILL)

    prometheus.await_firing("LaneworkGatewayDown")


def test_redis_that_does_not_answer(gateway, prometheus, server):
    gateway()

    server.process.send_signal(signal.SIGSTOP)

    prometheus.await_firing("LaneworkRedisDown")
    server.process.send_signal(signal.SIGCONT)


def test_a_function_whose_workers_are_gone(gateway, scraped, prometheus):
    worker = scraped({"echo": ECHO})
    http = gateway()

    worker.stop(signal.SIGKILL)
    post(http, "echo")

    prometheus.await_firing("LaneworkNoWorkerForFunction")


def test_jobs_that_wait_behind_a_worker_that_is_busy(gateway, scraped, prometheus):
    scraped({"sleeps": SLEEPS}, CONCURRENCY="1")
    http = gateway()

    post(http, "sleeps", {"seconds": 60}, count=3)

    prometheus.await_firing("LaneworkJobsWaitLong")
    assert "LaneworkNoWorkerForFunction" not in prometheus.firing()


def test_a_function_that_fails_for_good(gateway, scraped, prometheus):
    fails = "from runtime import function\n@function(retry=1)\nasync def handle(): raise ValueError('no')"
    scraped({"fails": fails})
    http = gateway()
    prometheus.await_data('lanework:jobs_dead{function="fails"}')

    post(http, "fails", {}, count=15)

    prometheus.await_firing("LaneworkJobsFail")


async def test_workers_that_are_lost_while_they_run_jobs(gateway, scraped, prometheus, client):
    doomed = scraped({"sleeps": SLEEPS})
    http = gateway()
    post(http, "sleeps", {"seconds": 5}, count=6)
    async with asyncio.timeout(DEADLINE):
        while sum(depth.running for depth in await client.depths()) < 6:
            await asyncio.sleep(0.02)

    scraped({"sleeps": SLEEPS})
    doomed.stop(signal.SIGKILL)

    await asyncio.to_thread(prometheus.await_firing, "LaneworkWorkersLost")


async def test_a_worker_that_is_stopped_for_longer_than_a_lease(gateway, scraped, prometheus, client):
    stopped = scraped({"sleeps": SLEEPS})
    http = gateway()
    post(http, "sleeps", {"seconds": 1})
    async with asyncio.timeout(DEADLINE):
        while not sum(depth.running for depth in await client.depths()):
            await asyncio.sleep(0.02)

    os.kill(stopped.popen.pid, signal.SIGSTOP)
    scraped({"sleeps": SLEEPS})
    await settled(client, 1, "sleeps")
    os.kill(stopped.popen.pid, signal.SIGCONT)

    await asyncio.to_thread(prometheus.await_firing, "LaneworkLeasesLost")


def test_redis_whose_memory_is_nearly_used(gateway, prometheus, server):
    server.client.config_set("maxmemory", "1gb")
    gateway()

    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", int(used * 1.1))

    prometheus.await_firing("LaneworkRedisMemory")


def test_redis_that_keeps_no_log_on_disk(gateway, prometheus, server):
    gateway()

    server.client.config_set("appendonly", "no")

    prometheus.await_firing("LaneworkRedisLog")


async def test_history_that_is_not_written(gateway, scraped, prometheus, process, client, tmp_path):
    url = f"sqlite:///{tmp_path}/history.db"
    archiver = process("history", "run", "--migrate", HISTORY_URL=url)
    archiver.await_said("history.started")
    scraped({"echo": ECHO})
    http = gateway(HISTORY_URL=url)

    os.kill(archiver.popen.pid, signal.SIGSTOP)
    post(http, "echo")

    await asyncio.to_thread(prometheus.await_firing, "LaneworkHistoryLags")
    os.kill(archiver.popen.pid, signal.SIGCONT)


async def test_ticks_that_came_while_no_worker_was_there(scraped, gateway, prometheus, redis, settings):
    ticks = "from runtime import function\n@function(schedule='* * * * *')\nasync def handle(): pass"
    away = await asyncio.to_thread(scraped, {"ticks": ticks})
    key = Keys(settings.prefix).cron(0)
    async with asyncio.timeout(DEADLINE):
        while not (past := await redis.hgetall(key)):
            await asyncio.sleep(0.02)
    await asyncio.to_thread(away.stop)

    for name, packed in past.items():  # as if that had been an hour ago
        ticked = codec.unpack(packed)
        await redis.hset(key, name, codec.pack({**ticked, "tick": ticked["tick"] - 3_600_000}))
    await asyncio.to_thread(gateway)
    await asyncio.to_thread(scraped, {"ticks": ticks})

    await asyncio.to_thread(prometheus.await_firing, "LaneworkSchedulesMissed")


def test_a_user_who_may_not_ask_how_redis_is_costs_these_figures_alone(gateway, prometheus, server):
    http = gateway()
    assert "lanework_redis_memory_used_bytes" in http.get("/metrics").text

    server.client.execute_command("ACL", "SETUSER", "default", "-info")
    metrics = http.get("/metrics").text
    server.client.execute_command("ACL", "SETUSER", "default", "+info")

    assert "lanework_store_up 1.0" in metrics
    assert "lanework_redis" not in metrics
    assert not prometheus.firing()
