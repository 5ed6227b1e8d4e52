"""The Compose file, run for real, and a load of jobs that keeps an account of what ran."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.servers import docker_answers, free_port, has_image, missing, until

ROOT = Path(__file__).parents[2]
FUNCTIONS = Path(__file__).parent / "functions"
LEDGER = "files/ledger"
IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "REDIS_IMAGE": "redis:7-alpine",
    "POSTGRES_IMAGE": "postgres:17-alpine",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
}
BUILDER = {"DOCKER_BUILDKIT": "0"}


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


class Stack:
    """A Compose project of its own name, ports and volumes."""

    def __init__(self, folder: Path) -> None:
        self.port, self.grpc_port, self.prometheus_port = free_port(), free_port(), free_port()
        self.functions = folder / "functions"
        shutil.copytree(ROOT / "functions", self.functions)
        shutil.copytree(FUNCTIONS, self.functions, dirs_exist_ok=True)
        self._folder = folder
        self._name = f"lanework-{folder.name.replace('_', '-')}"
        self.env = {
            "LANEWORK_PORT": str(self.port),
            "LANEWORK_GRPC_PORT": str(self.grpc_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "FUNCTIONS_FOLDER": str(self.functions),
            "WORKER_MEMORY": "400m",
        }
        self._files = ["docker-compose.yml"]
        self.override(services={"worker": {"memswap_limit": "400m"}})

    def override(self, **parts: object) -> None:
        """Adds to what the Compose file says."""
        file = self._folder / f"override-{len(self._files)}.json"
        file.write_text(json.dumps(parts))
        self._files.append(str(file))

    def __call__(self, *arguments: str) -> str:
        files = [part for file in self._files for part in ("-f", file)]
        command = ["docker", "compose", *files, "-p", self._name, *arguments]
        env = os.environ | BUILDER | self.env
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self, *arguments: str) -> None:
        self("up", "--build", "--detach", "--wait", "--wait-timeout", "120", *arguments)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=40, trust_env=False)

    def containers(self, service: str) -> list[str]:
        return self("ps", "--quiet", service).split()

    def kill(self, container: str) -> None:
        """Kills its first process, as a crash would: unlike `docker kill`, the engine starts it again."""
        os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", container)), 9)

    def runs(self) -> Counter[str]:
        """How often each job has run to its end, as the functions wrote down."""
        lines = self("exec", "-T", "worker", "sh", "-c", f"cat {LEDGER} 2>/dev/null || true").splitlines()
        return Counter(line.split()[0] for line in lines)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With two workers. It is torn down at the end of the module, volumes and all."""
    needed("PYTHON_IMAGE", "REDIS_IMAGE", "POSTGRES_IMAGE")
    compose = Stack(tmp_path_factory.mktemp("stack"))
    try:
        compose.up("--scale", "worker=2")
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--timeout", "5")


def needed(*variables: str) -> None:
    if not docker_answers():
        missing("a Docker engine")
    for variable in variables:
        image = os.environ.get(variable, IMAGES.get(variable, ""))
        if not has_image(image):
            missing(f"the image {image}")


class Serving(Protocol):
    def http(self) -> httpx.Client:
        """Of a gateway that is there now."""


class Load:
    """Posts jobs in a thread, each under a key of its own, again until it is accepted."""

    def __init__(self, stack: Serving, type: str = "noted", payload: object = None, every: float = 0.02) -> None:
        self._job = {"type": type, "payload": payload or {}}
        self.accepted: set[str] = set()
        self.refused = 0
        self._stack = stack
        self._every = every
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> Load:
        self._thread.start()
        self.await_accepted(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def await_accepted(self, count: int) -> None:
        """Waits until so many more have been."""
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + count, f"{count} more accepted jobs")

    def settled(self) -> list[dict[str, object]]:
        """All accepted jobs, once each has settled."""
        with self._stack.http() as http:
            return [_look(http, job_id) for job_id in sorted(self.accepted)]

    def _post(self) -> None:
        http, number = self._stack.http(), 0
        while not self._ends.is_set():
            headers = {"Idempotency-Key": f"{id(self)}-{number}"}
            try:
                reply = http.post("/jobs", json=self._job, headers=headers)
                was_accepted = reply.status_code in (200, 202)
            except httpx.TransportError:
                was_accepted = False
                http.close()
                http = self._stack.http()
            if was_accepted:
                self.accepted.add(reply.json()["id"])
                number += 1
            else:
                self.refused += 1
            self._ends.wait(self._every)
        http.close()


def _look(http: httpx.Client, job_id: str) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, object] = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=30"}).json()
        if job.get("finished_at") or time.monotonic() > deadline:
            return job


@pytest.fixture
def load(stack: Stack) -> Callable[..., Load]:
    return lambda **options: Load(stack, **options)
