"""Growing, shrinking, crashing and updating under load: every accepted job runs, and none runs twice."""

from __future__ import annotations

import pytest

from tests.containers.conftest import docker
from tests.servers import until

pytestmark = pytest.mark.containers


def workers(http):
    return {worker["id"] for worker in http.get("/workers").json()["workers"]}


def test_one_worker_four_and_two(stack, load):
    stack.up("--no-recreate", "--scale", "worker=1")
    with stack.http() as http, load() as jobs:
        stack.up("--no-recreate", "--scale", "worker=4")
        until(lambda: len(workers(http)) == 4, "four workers")
        jobs.await_accepted(100)
        stack.up("--no-recreate", "--scale", "worker=2")
        until(lambda: len(workers(http)) == 2, "two workers")
        jobs.await_accepted(50)

    assert {job["status"] for job in jobs.settled()} == {"completed"}
    assert set(stack.runs().values()) == {1}
    assert stack.runs().keys() == jobs.accepted


def test_a_worker_that_crashes_is_started_again_and_its_jobs_run_elsewhere(stack, load):
    before = set(stack.runs())
    with load() as jobs:
        crashed = stack.containers("worker")[0]
        stack.kill(crashed)
        until(lambda: docker("inspect", "--format", "{{.RestartCount}}", crashed) == "1", "restart")
        jobs.await_accepted(50)

    settled, runs = jobs.settled(), stack.runs()
    assert {job["status"] for job in settled} == {"completed"}
    assert set(runs) - before == jobs.accepted
    # a handler may have been killed between its last line and its end
    doubled = {job_id for job_id in jobs.accepted if runs[job_id] > 1}
    assert doubled <= {job["id"] for job in settled if job["attempts"][0]["outcome"] == "lost"}


def test_a_gateway_that_crashes_comes_back_and_no_job_is_lost(stack, load):
    before = set(stack.runs())
    with load() as jobs:
        stack.kill(stack.containers("gateway")[0])
        jobs.await_accepted(50)

    assert {job["status"] for job in jobs.settled()} == {"completed"}
    runs = stack.runs()
    assert (set(runs) - before, {runs[job_id] for job_id in jobs.accepted}) == (jobs.accepted, {1})


@pytest.mark.parametrize("harm", ["pause", "cut off"])
def test_redis_that_does_not_answer_for_a_while_costs_no_job(stack, load, harm):
    (redis,) = stack.containers("redis")
    network = docker(
        "inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", redis
    )
    with load() as jobs:
        if harm == "pause":
            docker("pause", redis)
        else:
            docker("network", "disconnect", network, redis)
        until(lambda: jobs.refused >= 2, "refused requests")  # each after some 1.5 s: it stays below a lease
        if harm == "pause":
            docker("unpause", redis)
        else:
            docker("network", "connect", "--alias", "redis", network, redis)
        jobs.await_accepted(50)

    assert {job["status"] for job in jobs.settled()} == {"completed"}
    runs = stack.runs()
    assert {runs[job_id] for job_id in jobs.accepted} == {1}


def test_an_update_of_image_and_functions_under_load(stack, load):
    with load() as jobs:
        code = (stack.functions / "noted.py").read_text()
        (stack.functions / "noted.py").write_text(code.replace('"v1"', '"v2"'))
        stack.override(services={"worker": {"build": {"args": {"VERSION": "0.1.1"}}}})
        stack.up("--scale", "worker=2")
        jobs.await_accepted(50)
        images = {docker("inspect", "--format", "{{.Image}}", one) for one in stack.containers("worker")}

    settled, runs = jobs.settled(), stack.runs()
    version = docker("inspect", "--format", '{{index .Config.Labels "org.opencontainers.image.version"}}', *images)
    assert version == "0.1.1"
    assert {job["status"] for job in settled} == {"completed"}
    assert {job["result"] for job in settled} == {"v1", "v2"}
    assert {runs[job_id] for job_id in jobs.accepted} == {1}


def test_what_was_accepted_is_there_after_down_and_up(stack):
    with stack.http() as http:
        stack("stop", "worker")
        posted = [http.post("/jobs", json={"type": "noted", "payload": {}}).json()["id"] for _ in range(100)]
    stack("exec", "-T", "redis", "redis-cli", "WAITAOF", "1", "0", "5000")

    stack("down")
    stack.up("--scale", "worker=2")

    with stack.http() as http:
        ended = [http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=30"}).json() for job_id in posted]
    assert {job["status"] for job in ended} == {"completed"}
