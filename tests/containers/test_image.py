"""The image by itself, as `docker run` starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib

import pytest

from tests.containers.conftest import BUILDER, IMAGES, ROOT, docker, needed
from tests.servers import until

pytestmark = pytest.mark.containers
HARD = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
MIB = 1 << 20


def build(tag, folder=ROOT):
    base = os.environ.get("PYTHON_IMAGE", IMAGES["PYTHON_IMAGE"])
    command = ["docker", "build", "-q", "--build-arg", f"PYTHON_IMAGE={base}", "-t", tag, str(folder)]
    return subprocess.run(command, env=os.environ | BUILDER, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image():
    needed("PYTHON_IMAGE", "REDIS_IMAGE")
    built = build("lanework-test:image")
    assert built.returncode == 0, built.stdout + built.stderr
    yield "lanework-test:image"
    docker("rmi", "--force", "lanework-test:image")


@pytest.fixture
def network():
    docker("network", "create", "lanework-test-image")
    docker(
        *("run", "--detach", "--name", "lanework-test-redis", "--network", "lanework-test-image"),
        *("--network-alias", "redis", os.environ.get("REDIS_IMAGE", IMAGES["REDIS_IMAGE"])),
    )
    yield "lanework-test-image"
    docker("rm", "--force", "--volumes", "lanework-test-redis")
    docker("network", "rm", "lanework-test-image")


@pytest.fixture
def start(image, network):
    """`start("worker", …)` runs a part, with no more rights than it needs."""
    started = []

    def run(*command, options=()):
        env = ("-e", "LANEWORK_REDIS_URL=redis://redis:6379/0", "-e", "LANEWORK_INSECURE=1")
        started.append(docker("run", "--detach", *HARD, "--network", network, *env, *options, image, *command))
        return started[-1]

    yield run
    for container in started:
        docker("rm", "--force", "--volumes", container)


def health(container):
    return docker("inspect", "--format", "{{.State.Health.Status}}", container)


def inside(image, *command):
    return docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])


def test_it_says_what_it_is(image):
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert labels["org.opencontainers.image.version"] == project["version"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert {"title", "description"} <= {name.rpartition(".")[2] for name in labels}


def test_it_adds_less_than_250_mb_to_its_base(image):
    base = os.environ.get("PYTHON_IMAGE", IMAGES["PYTHON_IMAGE"])
    size = [int(docker("inspect", "--format", "{{.Size}}", name)) for name in (image, base)]

    assert size[0] - size[1] < 250 * MIB


@pytest.mark.parametrize("tool", ["pip", "pip3", "hatchling", "gcc", "cc", "make"])
def test_it_has_no_tool_that_builds(image, tool):
    found = inside(image, "sh", "-c", f"ls /opt/lanework/bin/{tool} $(command -v {tool}) 2>/dev/null; true").split()

    assert [path for path in found if not path.startswith("/usr/local/bin/pip")] == []  # the base image's own


def test_it_runs_as_a_user_who_can_write_files_and_nothing_of_its_own(image):
    writable = inside(image, "find", "/app", "/opt", "/usr", "-writable", "-not", "-type", "l")

    assert inside(image, "id", "-u") == "10001"
    assert writable.split() == ["/app", "/app/files"]


def test_a_gateway_and_a_worker_are_healthy_run_a_job_and_end_when_told(start):
    worker, gateway = start("worker", "--port", "9200"), start("gateway")
    until(lambda: (health(gateway), health(worker)) == ("healthy", "healthy"), "healthy containers")

    called = docker("exec", gateway, "lanework", "call", "math", '{"a": 5, "b": 3}', "--wait", "--json")
    docker("stop", "--time", "30", worker, gateway)

    assert json.loads(called)["result"] == 8
    assert [docker("inspect", "--format", "{{.State.ExitCode}}", one) for one in (worker, gateway)] == ["0", "0"]


def test_a_gateway_that_no_worker_has_told_of_a_function_is_not_healthy_and_says_why(start):
    gateway = start("gateway", options=("--health-interval", "1s", "--health-retries", "2"))
    said = "{{range .State.Health.Log}}{{.Output}}{{end}}"

    until(lambda: "503" in docker("inspect", "--format", said, gateway), "a reason")  # it does not listen at first
    until(lambda: health(gateway) == "unhealthy", "an unhealthy gateway")

    assert "function" in docker("inspect", "--format", said, gateway)


def context(folder, requirements):
    """The build's files, with what functions need."""
    for name in ("runtime", "functions", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "functions" / "requirements.txt").write_text(requirements)
    return folder


def test_what_functions_need_is_built_in(image, tmp_path):
    built = build("lanework-test:needs", context(tmp_path / "c", "humanize==4.12.3\n"))
    assert built.returncode == 0, built.stdout + built.stderr
    try:
        told = inside("lanework-test:needs", "python3", "-c", "import humanize; print(humanize.intcomma(1000))")
    finally:
        docker("rmi", "--force", "lanework-test:needs")

    assert told == "1,000"


def test_what_does_not_agree_with_laneworks_own_packages_fails_the_build(image, tmp_path):
    built = build("lanework-test:odds", context(tmp_path / "c", "redis<5\n"))

    assert built.returncode != 0
    assert "redis" in built.stdout + built.stderr
