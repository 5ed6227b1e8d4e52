"""The image and the Compose file, built and run for real."""

from __future__ import annotations

import json
import subprocess
import time

import httpx
import pytest
from grpc_requests import Client

pytestmark = pytest.mark.containers
WAIT = {"Prefer": "wait=30"}


def run(http: httpx.Client, type: str, payload: object) -> dict[str, object]:
    job = http.post("/jobs", json={"type": type, "payload": payload})
    assert job.status_code == 202, job.text
    return http.get(job.json()["links"]["self"], headers=WAIT).json()


def test_jobs_run_in_containers_with_as_many_workers_as_asked_for(stack):
    with stack.http() as http:
        assert run(http, "math", {"a": "5", "b": "3"})["result"] == 8
        assert len(http.get("/workers").json()["workers"]) == 2


def test_grpc_is_there_and_known_by_reflection(stack):
    client = Client.get_by_endpoint(f"127.0.0.1:{stack.grpc_port}")

    job = client.request("lanework.v1.JobService", "EnqueueJob", {"type": "print", "payload": "SGVsbG8="})["job"]

    assert job["type"] == "print"
    client._channel.close()


def test_the_image_runs_as_a_user_without_rights(stack):
    assert stack("exec", "-T", "worker", "id", "-u").strip() == "10001"


def test_functions_come_from_the_folder_on_the_host_and_files_are_kept(stack):
    with stack.http() as http:
        done = run(http, "generate_report", {"rows": [{"n": 1}], "output": "r.csv"})

    assert done["status"] == "completed", done
    assert "n" in stack("exec", "-T", "--index", "1", "worker", "cat", "files/r.csv")


def live(http: httpx.Client, name: str) -> float:
    """Waits until both workers have a function; returns the seconds that took."""
    begun = time.monotonic()
    while len(http.get(f"/functions/{name}").json().get("workers", ())) < 2:
        assert time.monotonic() - begun < 20
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_file_dropped_into_the_mounted_folder_is_live_in_every_container(stack):
    with stack.http() as http:
        (stack.functions / "dropped.py").write_text("def handle(n: int): return n + 1")

        assert live(http, "dropped") < 3
        assert run(http, "dropped", {"n": 1})["result"] == 2


def test_what_eats_the_containers_memory_is_killed_alone_and_told(stack):
    """The kernel takes the function's process, and not the worker that is the container's first."""
    with stack.http() as http:
        (stack.functions / "hog.py").write_text(
            "from runtime import function\n\n@function(retry=1)\ndef handle(mb: int):\n"
            "    return len([bytearray(b'x') * (1 << 20) for _ in range(mb)])"
        )
        live(http, "hog")
        workers = {worker["id"] for worker in http.get("/workers").json()["workers"]}

        killed = run(http, "hog", {"mb": 2000})

        assert (killed["status"], killed["error"]["type"]) == ("failed", "OutOfMemory"), killed
        assert run(http, "hog", {"mb": 10})["result"] == 10
        assert {worker["id"] for worker in http.get("/workers").json()["workers"]} == workers


def test_a_killed_workers_job_runs_again_on_another(stack):
    with stack.http() as http:
        job = http.post("/jobs", json={"type": "long", "payload": {"steps": 20, "seconds": 3}}).json()
        path = job["links"]["self"]
        deadline = time.monotonic() + 20
        while (seen := http.get(path).json())["status"] != "running":
            assert time.monotonic() < deadline
        container = seen["attempts"][0]["worker"].partition("-")[0]
        subprocess.run(["docker", "kill", "--signal", "KILL", container], check=True, capture_output=True)
        done = http.get(path, headers=WAIT).json()

    assert (done["status"], done["attempt"]) == ("completed", 2)
    assert done["attempts"][0]["outcome"] == "lost"
    assert done["attempts"][0]["worker"] != done["attempts"][1]["worker"]


def test_stopping_a_worker_lets_what_runs_finish(stack):
    with stack.http() as http:
        job = http.post("/jobs", json={"type": "long", "payload": {"steps": 20, "seconds": 4}}).json()
        path = job["links"]["self"]
        deadline = time.monotonic() + 20
        while http.get(path).json()["status"] != "running":
            assert time.monotonic() < deadline
        stack("stop", "worker")
        done = http.get(path).json()

    assert (done["status"], done["attempt"]) == ("completed", 1)


def test_what_was_accepted_survives_a_restart_of_redis(stack):
    with stack.http() as http:
        stack("stop", "worker")
        job = http.post("/jobs", json={"type": "echo", "payload": "kept"}).json()
        stack("exec", "-T", "redis", "redis-cli", "WAITAOF", "1", "0", "5000")
        stack("restart", "redis")
        stack.up("--scale", "worker=1")
        done = http.get(job["links"]["self"], headers=WAIT).json()

    assert (done["status"], done["result"]) == ("completed", "kept")


def test_what_redis_has_forgotten_is_answered_from_postgres(stack):
    with stack.http() as http:
        job_id = run(http, "math", {"a": "2", "b": "3"})["id"]
        found = None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = http.get("/jobs", params={"payload.a": "2", "type": "math", "fields": "result"}).json()["jobs"]
            if job_id in [job["id"] for job in found]:
                break
        stack("exec", "-T", "redis", "redis-cli", "DEL", f"lw:{{0}}:job:{job_id}")
        job = http.get(f"/jobs/{job_id}").json()

    assert (job["id"], job["archived"], job["result"]) == (job_id, True, 5)


def test_every_service_says_that_it_is_healthy(stack):
    services = [json.loads(line) for line in stack("ps", "--format", "json").splitlines()]

    assert {service["Service"] for service in services} == {"redis", "postgres", "history", "gateway", "worker"}
    assert {service["Health"] for service in services} == {"healthy"}
