"""The stack for Swarm, on a swarm of one node: deployed, scaled, updated and removed for real."""

from __future__ import annotations

import json
import os
import subprocess

import httpx
import pytest

from tests.containers.conftest import BUILDER, IMAGES, ROOT, Load, docker, needed
from tests.servers import until

pytestmark = pytest.mark.containers
NAME = "lanework-test-swarm"


class Swarm:
    """The stack. Its published ports need a kernel with IPVS, so gateways are asked at their own addresses."""

    def __init__(self) -> None:
        base = os.environ.get("PYTHON_IMAGE", IMAGES["PYTHON_IMAGE"])
        self.images = [f"{NAME}:1", f"{NAME}:2"]
        for number, image in enumerate(self.images):
            arguments = ("--build-arg", f"PYTHON_IMAGE={base}", "--build-arg", f"VERSION=0.1.{number}")
            command = ["docker", "build", "-q", *arguments, "-t", image, str(ROOT)]
            subprocess.run(command, env=os.environ | BUILDER, check=True, capture_output=True)

    def deploy(self) -> None:
        file = ROOT / "deploy" / "swarm" / "stack.yml"
        env = os.environ | {
            "LANEWORK_IMAGE": self.images[0],
            "LANEWORK_INSECURE": "1",
            "LANEWORK_PORT": "0",
            "LANEWORK_GRPC_PORT": "0",
        }
        command = ["docker", "stack", "deploy", "--detach", "--resolve-image", "never", "-c", str(file), NAME]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        until(self.is_whole, "a whole stack", lambda: docker("service", "ls"), within=90)

    def is_whole(self) -> bool:
        """Whether every service has all its replicas."""
        replicas = [
            line.partition("/") for line in docker("service", "ls", "--format", "{{.Replicas}}").splitlines()
        ]
        return len(replicas) == 5 and all(there == wanted != "0" for there, _, wanted in replicas)

    def gateways(self) -> list[str]:
        """Addresses of those that are healthy, as this machine reaches them."""
        own = docker(
            "ps", "--quiet", "--no-trunc", "--filter", f"name={NAME}_gateway", "--filter", "health=healthy"
        )
        command = ["docker", "inspect", "--format", "{{.NetworkSettings.SandboxID}}", *own.split()]
        sandboxes = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        bridge = json.loads(docker("network", "inspect", "docker_gwbridge", "--format", "{{json .Containers}}"))
        names = {*own.split(), *sandboxes}
        return [found["IPv4Address"].partition("/")[0] for name, found in bridge.items() if name in names]

    def http(self) -> httpx.Client:
        until(lambda: bool(self.gateways()), "a gateway")
        address, *_ = self.gateways()
        return httpx.Client(base_url=f"http://{address}:8080", timeout=40, trust_env=False)

    def workers(self) -> int:
        with self.http() as http:
            return len(http.get("/workers").json()["workers"])


@pytest.fixture(scope="module")
def swarm():
    needed("PYTHON_IMAGE", "REDIS_IMAGE", "POSTGRES_IMAGE")
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "active":
        pytest.fail("this engine is in a swarm already: docker swarm leave --force")
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        docker("node", "update", "--label-add", "lanework.data=true", docker("node", "ls", "--quiet"))
        stack = Swarm()
        stack.deploy()
        yield stack
        docker("stack", "rm", NAME)
        until(lambda: not docker("ps", "--quiet", "--filter", f"name={NAME}_"), "the stack's end", within=90)
    finally:
        docker("swarm", "leave", "--force")
    for container in docker("ps", "--all", "--quiet", "--filter", f"name={NAME}_").split():
        docker("rm", "--force", container)  # what a task leaves behind
    for volume in docker("volume", "ls", "--quiet", "--filter", f"name={NAME}_").split():
        docker("volume", "rm", volume)
    docker("rmi", "--force", *stack.images)


def test_jobs_run_and_workers_scale(swarm):
    with swarm.http() as http:
        job = http.post("/jobs", json={"type": "math", "payload": {"a": "5", "b": "3"}}).json()
        assert http.get(job["links"]["self"], headers={"Prefer": "wait=30"}).json()["result"] == 8

    docker("service", "scale", "--detach", f"{NAME}_worker=3")
    until(lambda: swarm.workers() == 3, "three workers", within=60)
    docker("service", "scale", "--detach", f"{NAME}_worker=2")
    until(lambda: swarm.workers() == 2, "two workers", within=60)


def test_an_update_of_workers_and_gateways_under_load_costs_no_job(swarm):
    with Load(swarm, type="long", payload={"steps": 3, "seconds": 0.3}) as jobs:
        for service in ("worker", "gateway"):
            docker(
                "service",
                "update",
                "--detach",
                "--no-resolve-image",
                "--image",
                swarm.images[1],
                f"{NAME}_{service}",
            )
            until(lambda service=service: updated(service), f"updated {service}", within=180)
        jobs.await_accepted(50)

    settled = jobs.settled()
    assert {(job["status"], job["attempt"]) for job in settled} == {("completed", 1)}
    assert len(settled) > 100


def updated(service):
    state = docker("service", "inspect", "--format", "{{.UpdateStatus.State}}", f"{NAME}_{service}")
    assert "rollback" not in state, docker("service", "ps", "--no-trunc", f"{NAME}_{service}")
    return state == "completed"
