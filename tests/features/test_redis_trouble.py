"""A server that is restarted, away, stopped or full: nothing accepted is lost, and work goes on by itself."""

import asyncio
import contextlib
import os
import signal
import subprocess
from urllib.parse import urlsplit

import pytest

from runtime import settings as settings_module
from runtime.client import Lanework
from runtime.errors import StoreError, StoreUnavailable, StoreUnsupported
from runtime.settings import Settings
from runtime.store import embedded
from runtime.store.attempt_store import AttemptStore
from runtime.store.connect import opened
from runtime.worker import reader
from runtime.worker import worker as worker_module
from tests.conftest import deploy, looking
from tests.servers import free_port

WAIT = 30


class Server:
    """A server of the test's own."""

    def __init__(self, data, until, *options):
        self.data, self._until, self._options = data, until, options
        self.url = f"unix://{embedded.socket_path(data)}"
        self.start()

    def start(self):
        command = [*embedded.command(self.data), *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._until(lambda: embedded.answers(self.data), "the server")

    def end(self, number=signal.SIGTERM):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(20)


@pytest.fixture
def own(tmp_path, until):
    data = tmp_path / "data"
    data.mkdir()
    server = Server(data, until)
    yield server
    if server.process.poll() is None:
        server.end(signal.SIGKILL)


@pytest.fixture
def settings(own):
    return settings_module.load({}, redis_url=own.url, worker_port=0, lease=2.0, grace=2.0)


async def f(n: int = 0) -> int:
    return n


async def until_known(call):
    while True:
        try:
            return await call()
        except StoreError:
            await asyncio.sleep(0.05)


async def test_accepted_jobs_outlive_a_restart_and_workers_go_on_by_themselves(client, worker, own):
    await deploy(client, f=f)
    await client.pause()
    async with worker(f=f):
        ids = await client.enqueue_many("f", [{"n": n} for n in range(500)])
        later = await client.enqueue("f", delay=0.5)
        own.end()
        own.start()
        await until_known(client.resume)
        done = [await until_known(lambda job_id=job_id: client.wait(job_id, WAIT)) for job_id in (*ids, later.id)]

    assert {job.status for job in done} == {"completed"}
    assert {len(job.attempts) for job in done} == {1}


async def test_work_that_ends_while_the_server_is_away_is_settled_when_it_is_back(client, worker, own):
    started, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        started.set()
        await let_go.wait()
        return "done meanwhile"

    async with worker(hold=hold):
        job = await client.enqueue("hold")
        await asyncio.wait_for(started.wait(), WAIT)
        own.end()
        let_go.set()
        with pytest.raises(StoreUnavailable):
            await client.enqueue("hold")
        own.start()
        done = await until_known(lambda: client.wait(job.id, WAIT))

    assert (done.status, done.result, done.attempt) == ("completed", "done meanwhile", 1)


async def test_a_worker_whose_read_hangs_says_so_and_goes_on_when_it_can(client, worker, own, monkeypatch):
    monkeypatch.setattr(reader, "LISTEN", 0.2)
    monkeypatch.setattr("runtime.store.attempt_store.OVERDUE", 0.3)
    monkeypatch.setattr(worker_module, "SILENT", 0.8)
    async with worker(f=f) as one:
        await client.wait((await client.enqueue("f")).id, WAIT)
        assert one.trouble is None

        own.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(WAIT):
            while not one.trouble:
                await asyncio.sleep(0.02)
        told = one.trouble
        own.process.send_signal(signal.SIGCONT)
        done = await until_known(lambda: client.enqueue("f", {"n": 7}))
        assert (await until_known(lambda: client.wait(done.id, WAIT))).result == 7
        async with asyncio.timeout(WAIT):
            while one.trouble:
                await asyncio.sleep(0.02)

    assert "Redis has not answered" in told


async def test_a_group_that_is_destroyed_while_jobs_run_costs_nothing(client, worker, settings):
    started, let_go = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        started.set()
        await let_go.wait()
        return "done"

    one_slot = settings.model_copy(update={"concurrency": 1})
    async with worker(one_slot, hold=hold), looking(settings) as redis:
        ids = await client.enqueue_many("hold", [None] * 3)
        await asyncio.wait_for(started.wait(), WAIT)
        await redis.xgroup_destroy("lw:{0}:q:hold:normal", "lw")
        await redis.script_flush()
        let_go.set()
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    assert [(job.status, job.attempt) for job in done] == [("completed", 1)] * 3


async def test_a_full_server_refuses_new_jobs_and_works_off_those_it_has(client, worker, settings):
    async with worker(f=f), looking(settings) as redis:
        await client.pause()
        ids = await client.enqueue_many("f", [{"n": n} for n in range(200)])
        await redis.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable):
            await client.enqueue("f")
        await client.resume()
        async with asyncio.timeout(WAIT):
            done = [await client.wait(job_id, WAIT) for job_id in ids]
        await redis.config_set("maxmemory", 0)

    assert {job.status for job in done} == {"completed"}


async def test_a_durable_enqueue_is_on_the_disk_when_it_is_answered(settings, own):
    durable = settings.model_copy(update={"durable": True})
    async with Lanework(durable) as lanework:
        await deploy(lanework, f=f)
        ids = [(await lanework.enqueue("f", {"n": n})).id for n in range(3)]
        own.end(signal.SIGKILL)
        own.start()
        found = [await until_known(lambda job_id=job_id: lanework.get(job_id)) for job_id in ids]

    assert [job.payload for job in found] == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_too_few_replicas_are_told_and_the_job_is_there(client, settings, redis):
    await deploy(client, f=f)
    await redis.script_flush()
    async with Lanework(settings.model_copy(update={"durable_replicas": 1})) as lanework:
        for _ in range(2):  # the second time the job is known
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas had the job in time; it is stored"):
                await lanework.enqueue("f", {"n": 1}, key="k")

    assert [job.payload for job in (await client.page(fields=["payload"])).jobs] == [{"n": 1}]


async def test_a_server_without_an_append_only_file_cannot_be_durable(settings):
    async with looking(settings) as redis:
        await redis.config_set("appendonly", "no")

    with pytest.raises(StoreUnsupported, match="appendonly yes"):
        async with Lanework(settings.model_copy(update={"durable": True})):
            pass


async def test_a_failover_and_back_loses_nothing(client, worker, own, settings, tmp_path, until):
    """The address leads to a server that became a replica, and then to one that has all the other had."""
    (tmp_path / "other").mkdir()
    ports = [str(free_port()) for _ in range(2)]
    other = Server(tmp_path / "other", until, "--port", ports[1])
    try:
        async with worker(f=f), looking(settings) as redis, opened(Settings(redis_url=other.url)) as second:
            await redis.config_set("port", ports[0])
            await client.pause()
            ids = await client.enqueue_many("f", [{"n": n} for n in range(300)])
            await follow(second, ports[0])

            await second.replicaof("NO", "ONE")
            await follow(redis, ports[1])
            with pytest.raises(StoreUnavailable):
                await client.enqueue("f")
            await redis.replicaof("NO", "ONE")
            await until_known(client.resume)
            async with asyncio.timeout(WAIT):
                done = [await until_known(lambda job_id=job_id: client.wait(job_id, WAIT)) for job_id in ids]
    finally:
        other.end(signal.SIGKILL)

    assert {job.status for job in done} == {"completed"}


async def follow(redis, port):
    """Makes a server a replica that has all its master has."""
    await redis.replicaof("127.0.0.1", port)
    async with asyncio.timeout(WAIT):
        while (await redis.info("replication"))["master_link_status"] != "up":
            await asyncio.sleep(0.05)


class Proxy:
    """Between a client and the server; it can fall silent as networks do: connections stay, and nothing comes."""

    def __init__(self, url):
        self._url = urlsplit(url)
        self.silent = False
        self.sent = b""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        if self._url.scheme == "unix":
            above = await asyncio.open_unix_connection(self._url.path)
        else:
            above = await asyncio.open_connection(self._url.hostname, self._url.port)
        await asyncio.gather(self._pump(reader, above[1], told=True), self._pump(above[0], writer, told=False))

    async def _pump(self, reader, writer, *, told):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if told:
                    self.sent += data
                if not self.silent:
                    writer.write(data)
        writer.close()


async def test_who_waits_on_a_connection_that_has_died_silently_is_told(client, settings, monkeypatch):
    async def never() -> None: ...

    await deploy(client, never=never)
    job = await client.enqueue("never")
    monkeypatch.setattr("runtime.store.events.BLOCK_MS", 500)
    monkeypatch.setattr("runtime.store.events.OVERDUE", 0.5)
    async with (
        Proxy(settings.redis_url) as proxy,
        Lanework(settings.model_copy(update={"redis_url": proxy.url})) as far,
    ):
        waiting = asyncio.create_task(far.wait(job.id, 60))
        async with asyncio.timeout(WAIT):
            while b"XREAD" not in proxy.sent:
                await asyncio.sleep(0.01)
        proxy.silent = True
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(waiting, WAIT)


async def test_a_server_that_takes_no_sign_of_life_has_leases_renewed_all_the_same(
    client, worker, settings, monkeypatch
):
    def refused(self, client):
        raise StoreUnavailable("OOM command not allowed when used memory > 'maxmemory'")

    async def long() -> str:
        await asyncio.sleep(3.5)
        return "done"

    monkeypatch.setattr(AttemptStore, "stay_alive", refused)
    async with worker(settings.model_copy(update={"lease": 1.0}), long=long):
        done = await client.wait((await client.enqueue("long")).id, WAIT)

    assert (done.result, [attempt["outcome"] for attempt in done.attempts]) == ("done", ["completed"])
