"""A real server for every test, keys of its own for each, and a check that none is left behind.

The server is LANEWORK_TEST_REDIS_URL where set, else a Redis in a container or as it is installed, else the
embedded Valkey.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import redis as redis_py
import uvicorn

from runtime import settings as settings_module
from runtime.client import Lanework
from runtime.gateway.app import create_app
from runtime.gateway.bounded_protocol import BoundedProtocol
from runtime.handlers.catalogue import Catalogue
from runtime.handlers.spec import Function
from runtime.settings import Settings
from runtime.store.address import Address
from runtime.store.connect import Redis, opened
from runtime.store.keys import Keys
from runtime.store.registry import Registry, describe
from runtime.values import ids
from runtime.worker.worker import Worker
from tests import servers
from tests.cluster.cluster_of_servers import cluster_of_servers
from tests.servers import CI, DEADLINE, any_redis, embedded_valkey, missing

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
ON_CLUSTER = os.environ.get("LANEWORK_TEST_CLUSTER") == "true"  # of six servers, whose jobs lie in six shards
USERS = Path(__file__).parents[1] / "deploy/redis/users.acl"
SETTLED = (b"completed", b"failed", b"cancelled")


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def found_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The URL of a Redis, None where this machine has none."""
    found = any_redis(tmp_path_factory.mktemp("redis"))
    if found is None:
        yield None
        return
    with found as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(found_redis: str | None) -> str:
    if found_redis is None:
        missing("a Redis (an image for containers, or redis-server)")
    assert found_redis is not None
    return found_redis


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster_of_servers(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.url


@pytest.fixture(scope="session")
def server_url(admin_url: str) -> str:
    """The server as a user with the rights that deploy/redis/users.acl gives, and no others."""
    rules = next(line for line in USERS.read_text().splitlines() if line.startswith("user lanework "))
    _user, name, *rights = rules.replace(">change-me", ">secret").replace("~lw:*", "~test-*").split()
    for client in clients_of_each_server(admin_url):
        client.execute_command("ACL", "SETUSER", name, "reset", *rights)
        client.close()
    return admin_url.replace("://", f"://{name}:secret@")


def as_admin(url: str) -> str:
    return url.replace("lanework:secret@", "")


@pytest.fixture(scope="session")
def admin_url(request: pytest.FixtureRequest) -> str:
    if ON_CLUSTER:
        return str(request.getfixturevalue("cluster_url"))
    if url := os.environ.get("LANEWORK_TEST_REDIS_URL"):
        return url
    if CI:
        return str(request.getfixturevalue("redis_url"))
    return str(request.getfixturevalue("found_redis") or request.getfixturevalue("embedded_url"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped, in one line a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count} tests: {reason}")


@pytest.fixture
def settings(server_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings with a prefix of their own; what the test left behind is judged and removed."""
    prefix = f"test-{secrets.token_hex(6)}"
    yield settings_module.load(
        {},
        redis_url=server_url,
        prefix=prefix,
        shards=6 if ON_CLUSTER and request.node.get_closest_marker("one_shard") is None else 1,
        files_dir=tmp_path / "files",
        lease=8.0,
        grace=5.0,
        worker_port=0,
    )
    client = redis_of(as_admin(server_url))
    named = Keys(prefix)
    try:
        keys = [key.decode() for key in client.scan_iter(f"{prefix}:*", count=1000)]
        nameless = [
            k for k in keys if not any(fnmatch.fnmatch(k, p) for p in (*named.permanent(), *named.passing()))
        ]
        for_ever = [key for key in keys if client.ttl(key) == -1]
        allowed = named.permanent()
        # a job that has not settled has no TTL: it may wait as long as it must
        unsettled = {key for key in for_ever if ":job:" in key and client.hget(key, "status") not in SETTLED}
        leaked = [k for k in for_ever if k not in unsettled and not any(fnmatch.fnmatch(k, p) for p in allowed)]
        if keys:
            client.delete(*keys)
    finally:
        client.close()
    assert not nameless, f"keys whose names are not in store/keys.py: {nameless}"
    assert not leaked, f"keys without a TTL that are not on the list of permanent ones: {leaked}"


def clients_of_each_server(url: str) -> list[redis_py.Redis]:
    if "+cluster" not in url:
        return [redis_py.Redis.from_url(url)]
    return [redis_py.Redis(host, port) for host, port in Address.of(url).hosts]


def record_key(settings: Settings, job_id: str) -> str:
    return Keys(settings.prefix).job(ids.shard_of(job_id), job_id)


def looking(settings: Settings) -> AbstractAsyncContextManager[Redis]:
    """Behind the store, with all rights."""
    return opened(settings.model_copy(update={"redis_url": as_admin(settings.redis_url)}))


def redis_of(url: str) -> redis_py.Redis:
    """A client of redis-py's, of a server or a cluster."""
    if "+cluster" not in url:
        return redis_py.Redis.from_url(url)
    (host, port), *_ = Address.of(url).hosts
    return cast("redis_py.Redis", redis_py.RedisCluster(host, port))


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """The server itself, for tests that look behind the store."""
    async with looking(settings) as client:
        yield client


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Lanework]:
    async with Lanework(settings) as lanework:
        yield lanework


def catalogue(**handlers: Callable[..., Any]) -> Catalogue:
    """Functions by name, without files."""
    found = Catalogue()
    for name, handler in handlers.items():
        function = Function(name, handler)
        found.functions.update(dict.fromkeys((name, *function.policy.aliases), function))
    return found


async def deploy(lanework: Lanework, **handlers: Callable[..., Any]) -> None:
    """Publishes functions as a worker does, without one."""
    deployed = [describe(name, fn, lanework.settings) for name, fn in catalogue(**handlers).functions.items()]
    async with opened(lanework.settings) as redis:
        await Registry(redis, lanework.settings).publish(deployed)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A functions folder that a test writes to."""
    return Folder(tmp_path / "functions")


class Folder:
    """Function modules by name, as text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)

    def write(self, **modules: str) -> None:
        """As careful programs write: nobody sees half of a file."""
        for name, text in modules.items():
            beside = self.path / f".{name}"
            beside.write_text(textwrap.dedent(text))
            beside.rename(self.path / f"{name}.py")

    def remove(self, name: str) -> None:
        (self.path / f"{name}.py").unlink()


StartWorker = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
def worker(settings: Settings) -> StartWorker:
    """`async with worker(echo=handler):` runs a worker in this process until the block ends.

    Without handlers it runs the functions folder of the settings.
    """

    @asynccontextmanager
    async def start(given: Settings | None = None, **handlers: Callable[..., Any]) -> AsyncIterator[Worker]:
        one = Worker(given or settings, catalogue(**handlers) if handlers else None)
        task = asyncio.create_task(one.run())
        started = asyncio.create_task(one.started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE)
        started.cancel()
        try:
            yield one
        finally:
            one.stop()
            await asyncio.wait_for(task, DEADLINE)

    return start


class _Server(uvicorn.Server):
    """A gateway's server inside the test's event loop; signals stay the test's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that serves on a real socket."""
    async with serving(settings.model_copy(update={"body_limit": 20_000})) as client:
        yield client


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The same with other settings."""
    app = create_app(settings)
    # its protocol is named, or asyncio does not see that it is TCP, and replies wait 40 ms (Nagle's algorithm)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = _Server(uvicorn.Config(app, log_config=None, access_log=False, http=BoundedProtocol))
        serving = asyncio.create_task(server.serve([listening]))
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            yield client
        server.should_exit = True
        await serving


async def until_keys_are_asked_for(http: httpx.AsyncClient) -> None:
    """A gateway knows of a new access key within two seconds."""
    async with asyncio.timeout(DEADLINE):
        while (await http.get("/jobs")).status_code != 401:
            await asyncio.sleep(0)


class Process:
    """A `lanework` command as a process of its own; its log is on `log`."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, cwd: Path | None = None) -> None:
        self.log = log
        self._file = log.open("ab")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "runtime.cli.main", *command],
            env=env,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=cwd,
        )

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    def await_said(self, text: str) -> None:
        servers.until(lambda: self.said(text), f"{text!r} in the log", lambda: self.log.read_text())

    def stop(self, number: int = 15) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        code = self.popen.wait(40)
        self._file.close()
        return code


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """`process("worker", …)` starts a command on the test's settings; all are stopped at the end."""
    started: list[Process] = []

    def start(*command: str, cwd: Path | None = None, **env: str) -> Process:
        given = {
            "LANEWORK_REDIS_URL": settings.redis_url,
            "LANEWORK_PREFIX": settings.prefix,
            "LANEWORK_SHARDS": str(settings.shards),
            "LANEWORK_FILES_DIR": str(settings.files_dir),
            "LANEWORK_WORKER_PORT": "0",
            **{f"LANEWORK_{name}": value for name, value in env.items()},
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LANEWORK_", "REDIS_"))}
        one = Process(list(command), {**clean, **given}, tmp_path / f"{len(started)}-{command[0]}.log", cwd)
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop(9 if one.popen.poll() is None else 15)


@pytest.fixture
def start(process: Callable[..., Process], folder: Folder) -> Callable[..., Process]:
    """`start({"name": module, …}, …)` starts a worker as a process of its own on these modules."""

    def start(modules: dict[str, str], **env: str) -> Process:
        folder.write(**modules)
        return process("worker", "--functions-dir", str(folder.path), **{"LOG_FORMAT": "json", "GRACE": "1", **env})

    return start


@pytest.fixture
def until() -> Callable[..., None]:
    return servers.until


@pytest.fixture
def node(tmp_path: Path) -> Any:
    """`await node(script, *arguments)` runs a module of JavaScript, in the test's folder, where the packages that
    LANEWORK_TEST_NODE has are found; returns the JSON that it prints. `node.command` runs any command there."""
    folder = os.environ.get("LANEWORK_TEST_NODE")
    if not folder or not shutil.which("node"):
        missing("node, and the npm packages that .ci/run installs (LANEWORK_TEST_NODE)")
    assert folder is not None
    (tmp_path / "node_modules").symlink_to(Path(folder).resolve() / "node_modules")

    async def run(script: str, *arguments: str) -> Any:
        (tmp_path / "script.mjs").write_text(script)
        return json.loads(await command("node", "script.mjs", *arguments))

    async def command(*line: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *line, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, (out + err).decode()
        return out

    run.command = command  # type: ignore[attr-defined]
    return run
