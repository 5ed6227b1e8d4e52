"""Servers for tests: a Redis container, a redis-server that is installed, and the embedded Valkey."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from runtime.store import embedded

CI = os.environ.get("CI") == "true"
DEADLINE = 20.0


def missing(what: str) -> None:
    """Skips on a user's machine; in CI everything is there, or the run fails."""
    if CI:
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def docker_answers() -> bool:
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def has_image(name: str) -> bool:
    """Whether the engine has an image, or can fetch it."""
    for command in ("inspect", "pull"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(["docker", "image", command, name], capture_output=True, timeout=300, check=False)
            if done.returncode == 0:
                return True
    return False


def until(
    met: Callable[[], bool], what: str, told: Callable[[], str] = lambda: "", within: float = DEADLINE
) -> None:
    """Waits for what another process does, where nothing can be awaited. `within`: seconds."""
    deadline = time.monotonic() + within
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {within:g} s\n{told()}")
        time.sleep(0.02)


@contextmanager
def server_in_container(image: str, program: str) -> Iterator[str]:
    if not docker_answers() or not has_image(image):
        missing(f"the image {image}")
    command = ("run", "-d", "--rm", "-p", "127.0.0.1::6379", image, program, "--protected-mode", "no", "--save", "")
    started = _docker(*command)
    try:
        port = _docker("port", started, "6379").rpartition(":")[2]
        with redis.Redis(port=int(port)) as client:
            until(lambda: _answers(client), program)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        _docker("kill", started)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def redis_image() -> str:
    return os.environ.get("REDIS_IMAGE", "redis:7-alpine")


@contextmanager
def container(image: str) -> Iterator[str]:
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(image) as started:
        yield f"redis://{started.get_container_host_ip()}:{started.get_exposed_port(6379)}/0"


@contextmanager
def installed(binary: str, folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            until(lambda: _answers(client) or process.poll() is not None, "redis-server")
        if process.poll() is not None:
            raise RuntimeError(
                f"{binary} ended with status {process.returncode}; it may be too old for these options"
            )
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def embedded_valkey(folder: Path) -> Iterator[str]:
    """As `lanework up` starts it."""
    process = subprocess.Popen(embedded.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: embedded.answers(folder), "the embedded server")
        yield f"unix://{embedded.socket_path(folder)}"
    finally:
        process.terminate()
        process.wait(DEADLINE)


class Postgres:
    """A PostgreSQL as Debian installs it, with a cluster of its own; it can be stopped and started again.

    Its data is not in a folder of pytest's: these are for their owner alone, and it refuses to run as root.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="lanework-postgres-"))
        self._data = self._folder / "data"
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "--no-sync")
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._data} -c fsync=off"
        )
        log = self._data / "log"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(log), "-w", "-t", "60", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stops it, and deletes its data."""
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        subprocess.run(command, user=self._user, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120)


def postgres_binaries() -> Path | None:
    """Where Debian's package, or PATH, has a PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def any_redis(folder: Path) -> contextlib.AbstractContextManager[str] | None:
    """A Redis: in a container where the engine has an image, else as installed; None: there is neither."""
    image = redis_image()
    if docker_answers() and has_image(image):
        return container(image)
    binary = shutil.which("redis-server")
    return installed(binary, folder) if binary else None
