"""A fresh server for each measure, processes, and what else the machine was doing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from runtime.store import embedded

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = HERE / ".work"
FUNCTIONS = HERE / "functions"
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """A server that saves nothing, on a port of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.pid = process.pid
        self.client = redis.Redis(port=port)

    def cpu(self) -> float:
        """Seconds of CPU so far, to the microsecond."""
        told = self.client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def memory(self) -> int:
        return int(self.client.info("memory")["used_memory"])


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """Redis where it is installed, else the embedded Valkey."""
    binary = shutil.which("redis-server") or str(embedded.binary())
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", folder, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            started = Server(port, process)
            until(lambda: _answers(started.client), "the server")
            yield started
            started.client.close()
        finally:
            process.terminate()
            process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def process(
    *command: str, env: dict[str, str] | None = None, quiet: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    out = subprocess.DEVNULL if quiet else None
    started = subprocess.Popen(command, env=os.environ | (env or {}), cwd=ROOT, stdout=out, stderr=out)
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


@contextmanager
def lanework(
    server: Server,
    *command: str,
    mark: str = os.devnull,
    keep: str = "86400",
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A `lanework` command on a server, with the benchmark's functions."""
    own = {
        "LANEWORK_REDIS_URL": server.url,
        "LANEWORK_FUNCTIONS_DIR": str(FUNCTIONS),
        "LANEWORK_WORKER_PORT": "0",
        "LANEWORK_KEEP": keep,
        "BENCH_MARK": mark,
        **(env or {}),
    }
    with process(sys.executable, "-m", "runtime.cli.main", *command, env=own) as started:
        yield started


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def until(met: Any, what: str, deadline: float = 120, pause: float = 0.005) -> None:
    limit = time.monotonic() + deadline
    while not met():
        if time.monotonic() > limit:
            raise SystemExit(f"no {what} within {deadline:g} s")
        time.sleep(pause)


class Disturbance:
    """How much of a core the host took away meanwhile (steal time)."""

    stolen = 0.0

    def __enter__(self) -> Disturbance:
        self._at, self._steal = time.monotonic(), _steal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stolen = (_steal() - self._steal) / (time.monotonic() - self._at)


def _steal() -> float:
    return int(Path("/proc/stat").read_text().split()[8]) / _TICKS


def describe() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}."
