"""`lanework doctor` finds each harm that is done here, and nothing where none is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess

import pytest
import redis as redis_py

from runtime.doctor import Doctor
from runtime.doctor.server import of_server
from runtime.store import embedded
from runtime.store.checkup import Checkup
from runtime.store.keys import Keys
from runtime.store.server import Server
from tests.conftest import deploy
from tests.servers import DEADLINE, until

WAIT = 20


@pytest.fixture
def server(tmp_path):
    """A Valkey of the test's own, as a careful operator has set it up."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    process = subprocess.Popen(embedded.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: embedded.answers(folder), "the embedded server")
    client = redis_py.Redis.from_url(f"unix://{embedded.socket_path(folder)}", decode_responses=True)
    client.config_set("maxmemory", "1gb")
    yield client
    client.close()
    process.kill()
    process.wait(DEADLINE)


@pytest.fixture
def server_url(server):
    return f"unix://{server.connection_pool.connection_kwargs['path']}"


@pytest.fixture
def found(settings):
    """`await found()` gives what the doctor finds, by code."""

    async def look(**changed):
        doctor = Doctor(settings.model_copy(update=changed))
        try:
            return {finding.code: finding for finding in await doctor.findings()}
        finally:
            await doctor.close()

    return look


async def echo(payload):
    return payload


async def test_a_system_that_is_well_has_no_findings(found, client, worker):
    async with worker(echo=echo):
        await client.wait(await client.enqueue("echo"), WAIT)
        assert await found() == {}


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("server-evicts", "maxmemory-policy", "allkeys-lru"),
        ("memory-unlimited", "maxmemory", "0"),
        ("memory-short", "maxmemory", "1100kb"),
        ("log-off", "appendonly", "no"),
        ("log-unsynced", "appendfsync", "no"),
        ("records-large", "hash-max-listpack-value", "64"),
    ],
)
async def test_how_the_server_is_set_up(found, worker, server, code, name, value):
    async with worker(echo=echo):
        server.config_set(name, value)

        assert list(await found()) == [code]
        server.config_set("maxmemory", "1gb")  # there must be room to leave


def checkup(**changed):
    well = {
        "address": "",
        "server": Server(1, 100, keeps_log=True, writes_log=True),
        "unsupported": None,
        "configuration": {"maxmemory-policy": "noeviction", "appendfsync": "everysec"},
        "ahead": 0.0,
        "uncertain": 1.0,
        "differs": {},
    }
    return Checkup(**well | changed)


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("server-too-old", {"unsupported": "Redis 6.2 is too old: Lanework needs Redis 7.0+ or Valkey 8+"}),
        ("clocks-differ", {"ahead": 2500.0}),
        ("clocks-differ", {"ahead": -2500.0}),
        ("configuration-hidden", {"configuration": {}}),
        ("node-away", {"address": "one:6379", "away": "refused"}),
        ("log-unwritten", {"server": Server(1, 100, keeps_log=True, writes_log=False)}),
    ],
)
def test_what_no_server_here_can_be_made_to_do(code, changed):
    assert [finding.code for finding in of_server(checkup(**changed))] == [code]
    assert list(of_server(checkup())) == []


def test_a_clock_that_may_be_right_is_not_told():
    assert list(of_server(checkup(ahead=2500.0, uncertain=2000.0))) == []


async def test_a_server_that_does_not_show_its_configuration(found, worker, server):
    server.execute_command("ACL", "SETUSER", "default", "-config")
    try:
        async with worker(echo=echo):
            assert list(await found()) == ["configuration-hidden"]
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+config")


async def test_settings_that_differ_from_the_others(found, client):
    differs = await found(shards=3, lanes=("a", "b"), default_lane="a")

    assert list(differs) == ["settings-differ"]
    assert "LANEWORK_SHARDS=1" in differs["settings-differ"].do or "LANEWORK_LANES" in differs["settings-differ"].do


async def test_jobs_that_wait_for_a_function_that_no_worker_has(found, client):
    await deploy(client, echo=echo)
    await client.enqueue_many("echo", [1, 2, 3])

    findings = await found()

    assert list(findings) == ["no-worker", "no-workers"]
    assert findings["no-worker"].what == "3 jobs of echo wait, and no worker that lives has it"


async def test_a_module_that_does_not_load(found, start, client):
    start({"fine": "def handle(): pass", "broken": "import nothing_of_that_name"}).await_said("worker.started")
    async with asyncio.timeout(WAIT):
        while "function-broken" not in (findings := await found()):
            await asyncio.sleep(0.05)

    assert "nothing_of_that_name" in findings["function-broken"].what


async def test_a_worker_without_any_function(found, process, client, tmp_path):
    (tmp_path / "empty").mkdir()
    process("worker", "--functions-dir", str(tmp_path / "empty")).await_said("worker.started")
    async with asyncio.timeout(WAIT):
        while not await client.workers():
            await asyncio.sleep(0.05)

    assert list(await found()) == ["worker-empty"]


async def test_workers_with_different_versions_of_a_function(found, process, client, tmp_path):
    for name, text in (("a", "def handle(): return 1"), ("b", "def handle(): return 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.py").write_text(text)
        process("worker", "--functions-dir", str(tmp_path / name)).await_said("worker.started")
    async with asyncio.timeout(WAIT):
        while len(await client.workers()) < 2:
            await asyncio.sleep(0.05)

    assert list(await found()) == ["versions-differ"]


@pytest.mark.parametrize("what", [{}, {"function": "echo"}, {"lane": "low"}])
async def test_what_is_paused(found, client, worker, what):
    async with worker(echo=echo):
        await client.pause(**what)
        findings = await found()
        await client.resume(**what)

    assert list(findings) == ["paused"]


async def test_attempts_of_workers_that_are_lost_while_no_other_lives(found, start, client):
    sleeps = "import asyncio\nasync def handle(): await asyncio.sleep(60)"
    worker = start({"sleeps": sleeps}, LEASE="0.2")
    worker.await_said("worker.started")
    await client.enqueue("sleeps")
    async with asyncio.timeout(WAIT):
        while not sum(depth.running for depth in await client.depths()):
            await asyncio.sleep(0.02)

    worker.stop(signal.SIGKILL)

    async with asyncio.timeout(WAIT):
        while "leases-expired" not in (findings := await found(lease=0.2)):
            await asyncio.sleep(0.05)
    assert findings["leases-expired"].what.startswith("1 attempts of sleeps in normal")


async def test_keys_that_are_none_of_ours(found, worker, redis, settings):
    root = Keys(settings.prefix).root(0)
    async with worker(echo=echo):
        await redis.set(f"{root}:somebodys", 1)
        await redis.set(f"{root}:rate:echo", 1)
        findings = await found()
        await redis.delete(f"{root}:somebodys", f"{root}:rate:echo")

    assert list(findings) == ["keys-unknown", "keys-endless"]
    assert "somebodys" in findings["keys-unknown"].what


async def test_history_that_nobody_writes(found, process, worker, client, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/history.db"
    monkeypatch.setattr("runtime.doctor.fleet._BEHIND", 0.5)
    with_history = {"history_url": type(client.settings.history_url)(url)}
    async with worker(echo=echo):
        assert list(await found(**with_history)) == ["history-unwritten"]
        archiver = process("history", "run", "--migrate", HISTORY_URL=url)
        archiver.await_said("history.started")
        os.kill(archiver.popen.pid, signal.SIGSTOP)
        await client.wait(await client.enqueue("echo"), WAIT)
        async with asyncio.timeout(WAIT):
            while list(await found(**with_history)) != ["history-behind"]:
                await asyncio.sleep(0.05)
        os.kill(archiver.popen.pid, signal.SIGCONT)


# the command


def doctor(process, *options, **env):
    ran = process("doctor", *options, **env)
    code = ran.popen.wait(WAIT)
    return code, ran.log.read_text()


async def test_the_command_tells_and_fixes_what_it_safely_can(process, worker, server):
    async with worker(echo=echo):
        server.config_set("maxmemory-policy", "allkeys-lru")
        server.config_set("appendfsync", "no")

        told = await asyncio.to_thread(doctor, process)
        fixed = await asyncio.to_thread(doctor, process, "--fix", "--json")
        after = await asyncio.to_thread(doctor, process)

    assert told[0] == 1
    assert "server-evicts" in told[1]
    assert "--fix" in told[1]
    shown = {finding["code"]: finding for finding in json.loads(fixed[1])["findings"]}
    assert server.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert shown["log-unsynced"]["fixable"]
    assert shown["log-unsynced"]["fixed"]
    assert after == (0, "nothing is wrong\n")


async def test_warnings_alone_do_not_fail_it(process, worker, server):
    async with worker(echo=echo):
        server.config_set("maxmemory", "0")
        code, told = await asyncio.to_thread(doctor, process)
        server.config_set("maxmemory", "1gb")

    assert code == 0
    assert "memory-unlimited" in told


async def test_a_lane_of_an_odd_name_is_looked_over(found, worker, redis, settings):
    lanes = Keys(settings.prefix).lanes(0)
    async with worker(echo=echo):
        await redis.sadd(lanes, "a:b:c")
        assert await found() == {}
        await redis.srem(lanes, "a:b:c")


def test_without_redis_it_says_so(process):
    code, told = doctor(process, REDIS_URL="redis://127.0.0.1:1")

    assert code == 4
    assert "store-unavailable" in told
