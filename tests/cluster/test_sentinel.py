"""A primary, its replica, and three sentinels that name another primary when the first one dies."""

import asyncio
import contextlib
import subprocess

import pytest
import redis

from runtime import settings as settings_module
from runtime.store import embedded
from tests import servers
from tests.servers import DEADLINE, free_port

OUT = 20.0
NAME = "jobs"


class Sentinels:
    """Two servers, and who watches over them."""

    def __init__(self, folder, ends):
        self._folder, self._ends = folder, ends
        self.ports = [free_port(), free_port()]
        self.sentinels = [free_port() for _ in range(3)]
        self.servers = [self.start_server(0), self.start_server(1)]
        with redis.Redis(port=self.ports[1]) as second:
            second.replicaof("127.0.0.1", self.ports[0])
        for port in self.sentinels:
            self._start_sentinel(port)
        servers.until(self._know_each_other, "sentinels that know each other and the replica")

    def start_server(self, number):
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        port = str(self.ports[number])
        return self._start(port, "--port", port, "--dir", str(folder), "--appendonly", "yes")

    def _start_sentinel(self, port):
        config = self._folder / f"sentinel-{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {self.ports[0]} 2\n"
            f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
        )
        self._start(port, str(config), "--sentinel")

    def _start(self, port, *options):
        process = subprocess.Popen([str(embedded.binary()), *options], stdout=subprocess.DEVNULL)
        self._ends.callback(process.wait, DEADLINE)
        self._ends.callback(process.kill)
        client = redis.Redis(port=int(port))
        servers.until(lambda: answers(client), "a server")
        client.close()
        return process

    def _know_each_other(self):
        for port in self.sentinels:
            with redis.Redis(port=port) as sentinel:
                known = sentinel.sentinel_master(NAME)
            if (known["num-slaves"], known["num-other-sentinels"]) != (1, 2):
                return False
        return True

    def primary(self):
        with redis.Redis(port=self.sentinels[0]) as sentinel:
            return sentinel.sentinel_get_master_addr_by_name(NAME)[1]

    @property
    def url(self):
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{NAME}"


def answers(client):
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory):
    with contextlib.ExitStack() as ends:
        yield Sentinels(tmp_path_factory.mktemp("sentinels"), ends)


@pytest.fixture
def settings(sentinels, tmp_path):
    return settings_module.load(
        {}, redis_url=sentinels.url, lease=4.0, grace=5.0, worker_port=0, files_dir=tmp_path, durable_replicas=1
    )


async def test_jobs_go_on_with_the_primary_that_sentinels_name(sentinels, load):
    async with load.running():
        await load.until_more(300, OUT)
        sentinels.servers[0].kill()
        await asyncio.to_thread(sentinels.servers[0].wait, DEADLINE)
        await asyncio.to_thread(
            servers.until, lambda: sentinels.primary() == sentinels.ports[1], "fail-over", within=OUT
        )
        sentinels.start_server(0)  # which becomes the replica
        await load.until_more(600, OUT)

    assert await load.unsettled() == []
    assert load.refused
