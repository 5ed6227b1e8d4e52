"""The profile `cluster`: six nodes in place of one server."""

from __future__ import annotations

import subprocess

import pytest

from tests.containers.conftest import ROOT, Stack, docker, needed
from tests.servers import until

pytestmark = pytest.mark.containers
SUBNET = "10.213.79"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    needed("PYTHON_IMAGE", "REDIS_IMAGE", "POSTGRES_IMAGE")
    compose = Stack(tmp_path_factory.mktemp("cluster"))
    compose.env |= {
        "COMPOSE_PROFILES": "cluster",
        "CLUSTER_SUBNET": SUBNET,
        "LANEWORK_REDIS_URL": "redis+cluster://node-1:6379,node-2:6379,node-3:6379",
        "LANEWORK_SHARDS": "6",
    }
    try:
        compose.up("--scale", "worker=2", "--scale", "redis=0")
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--timeout", "5")


def primaries(stack):
    """The names of those that have slots."""
    nodes = stack("exec", "-T", "node-2", "redis-cli", "cluster", "nodes").splitlines()
    return {line.split()[1].rpartition(",")[2] for line in nodes if "master" in line and "fail" not in line}


def test_a_primary_that_crashes_is_replaced_under_load(stack, load):
    assert len(primaries(stack)) == 3
    with stack.http() as http, load() as jobs:
        (crashed,) = stack.containers("node-1")
        docker("pause", crashed)
        until(lambda: "node-1" not in primaries(stack), "fail-over", within=40)
        docker("unpause", crashed)
        jobs.await_accepted(100)
        assert len(http.get("/workers").json()["workers"]) == 2

    assert {job["status"] for job in jobs.settled()} == {"completed"}
    assert stack.runs().keys() == jobs.accepted


def test_after_down_and_up_the_nodes_find_each_other_and_have_their_jobs(stack, load):
    with load() as jobs:
        jobs.await_accepted(30)
    before = jobs.settled()
    stack("down", "--timeout", "20")
    stack.up("--scale", "redis=0")

    with stack.http() as http:
        again = [http.get(f"/jobs/{job['id']}").json() for job in before]
    assert [job["status"] for job in again] == ["completed"] * len(before)


def test_the_script_is_plain_sh():
    done = subprocess.run(
        ["sh", "-n", str(ROOT / "deploy/redis/make-cluster.sh")], capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")
