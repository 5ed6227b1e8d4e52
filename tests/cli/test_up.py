"""`lanework up`: everything on one machine, from a folder and nothing else."""

import os
import signal
import socket
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.processes import alive, command
from tests.servers import free_port

FUNCTIONS = str(Path(__file__).parents[2] / "functions")
WAIT = {"Prefer": "wait=20"}


@pytest.fixture
def up(process, tmp_path, monkeypatch):
    """`up()` starts Lanework on a data folder of the test's, and waits until it serves."""
    port, grpc_port = free_port(), free_port()
    clients = []

    def start(*arguments):
        ports = ("--port", str(port), "--grpc-port", str(grpc_port))
        running = process("up", *ports, "--data", str(tmp_path / "data"), "--functions", FUNCTIONS, *arguments)
        running.await_said("Lanework is up")
        running.grpc_port = grpc_port
        running.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        clients.append(running.http)
        return running

    yield start
    for client in clients:
        client.close()


def math(http, a=5, b=3):
    job = http.post("/jobs", json={"type": "math", "payload": {"a": a, "b": b}}).json()
    return http.get(job["links"]["self"], headers=WAIT).json()


def children(running, word=None):
    """The supervisor's processes; only those with `word` as a command or an argument."""
    found = psutil.Process(running.popen.pid).children(recursive=True)
    return [p for p in found if word is None or word in command(p.pid)]


def test_it_serves_and_leaves_nothing_behind_when_stopped(up):
    running = up()
    assert math(running.http)["result"] == 8
    processes = children(running)
    assert len(psutil.Process(running.popen.pid).children()) == 4  # server, gateway, worker, history

    assert running.stop(signal.SIGINT) == 0

    assert not any(alive(p.pid) for p in processes)


def test_history_is_kept_in_the_data_folder_unless_that_is_declined(up, tmp_path, until):
    running = up()
    job = math(running.http)
    until(lambda: running.http.get("/stats/history").json()["buckets"], "history")
    running.stop(signal.SIGINT)
    assert (tmp_path / "data" / "history.db").stat().st_mode & 0o077 == 0

    again = up("--no-history")
    assert again.http.get("/stats/history").json()["type"] == "/problems/history-missing"
    assert again.http.get(f"/jobs/{job['id']}").json()["archived"] is False


def test_what_was_stored_is_there_after_a_restart(up):
    first = up()
    done = math(first.http)
    first.stop()

    again = up()

    assert again.http.get(done["links"]["self"]).json() == done


@pytest.mark.parametrize("word", ["worker", "gateway", "valkey-server"])
def test_a_process_that_dies_is_started_again_and_the_log_says_so(up, word, until):
    running = up()
    (process,) = children(running, word)

    process.kill()
    running.await_said("process.died")
    until(lambda: [p for p in children(running, word) if p.pid != process.pid], f"new {word}")

    def works():
        try:
            return math(running.http)["result"] == 8
        except (httpx.HTTPError, KeyError):
            return False

    until(works, "work again")


def test_a_killed_supervisor_takes_its_processes_with_it_and_the_next_one_starts(up, until):
    running = up()
    done = math(running.http)
    processes = children(running)

    running.stop(signal.SIGKILL)
    until(lambda: not any(alive(p.pid) for p in processes), "end of all processes")

    assert up().http.get(done["links"]["self"]).json()["result"] == 8


def test_several_workers_may_be_asked_for(up):
    running = up("--workers", "2")

    assert len(children(running, "worker")) == 2


def test_grpc_is_on(up):
    running = up()

    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert running.said(f"gRPC on port {running.grpc_port}")


def test_a_grpc_port_that_is_taken_is_told_where_it_was_named_and_else_left_out(up, process, tmp_path):
    running = up()
    others = ("--port", str(free_port()), "--data", str(tmp_path / "other"), "--functions", FUNCTIONS)

    named = process("up", *others, "--grpc-port", str(running.grpc_port))
    with socket.create_server(("127.0.0.1", 50051)):
        unnamed = process("up", *others)
        unnamed.await_said("Lanework is up")

    assert named.popen.wait(20) == 3
    assert named.said("choose another with --grpc-port")
    assert unnamed.said("grpc.off")


def test_a_port_that_is_taken_is_told_at_once(up, process, tmp_path):
    running = up()
    port = str(running.http.base_url.port)

    second = process("up", "--port", port, "--data", str(tmp_path / "other"), "--functions", FUNCTIONS)

    assert second.popen.wait(20) == 3
    assert second.said("choose another with --port")


def test_two_on_one_data_folder_are_refused(up, process, tmp_path):
    up()

    second = process("up", "--port", str(free_port()), "--data", str(tmp_path / "data"), "--functions", FUNCTIONS)

    assert second.popen.wait(20) == 3
    assert second.said("another `lanework up` runs on")


def test_a_data_folder_with_a_long_path_works_too(process, tmp_path):
    deep = tmp_path / ("d" * 120)
    port = free_port()

    running = process("up", "--port", str(port), "--data", str(deep), "--functions", FUNCTIONS)

    running.await_said("Lanework is up")


def test_a_missing_folder_of_functions_is_told(process, tmp_path):
    running = process("up", "--functions", str(tmp_path / "none"), "--data", str(tmp_path / "data"))

    assert running.popen.wait(20) == 3
    assert running.said("there is no folder")
    assert not os.path.exists(tmp_path / "data" / "valkey.sock")


def test_what_it_suggests_names_a_function_and_a_port_that_are_there(process, tmp_path, folder):
    folder.write(greet="def handle(): return 'hello'")

    running = process(
        "up", "--port", "0", "--data", str(tmp_path / "data"), "--functions", str(folder.path), "--workers", "1"
    )
    running.await_said("Ctrl-C stops it")

    (suggested,) = [line for line in running.log.read_text().splitlines() if "call greet" in line]
    url = suggested.partition("--url ")[2]
    job = httpx.post(f"{url}/jobs", json={"type": "greet", "payload": {}}, trust_env=False).json()
    done = httpx.get(f"{url}/jobs/{job['id']}", headers=WAIT, timeout=30, trust_env=False).json()
    assert done["result"] == "hello"
