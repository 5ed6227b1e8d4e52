"""The HTTP calls of the systems that Lanework replaces, as they were made, on the functions that are shipped."""

from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parent.parent.parent / "functions"
EMAIL = {"to": "ada@example.com", "subject": "hello", "body": "there"}


@pytest.fixture
async def shipped(worker, settings):
    async with worker(settings.model_copy(update={"functions_dir": FUNCTIONS})) as one:
        yield one


async def settled(http, path):
    reply = await http.get(path, headers={"Prefer": "wait=20"})
    return reply.json()


async def test_job_worker_service(http, shipped):
    created = await http.post("/jobs", json={"type": "echo", "priority": 2, "input": {"message": "hello"}})
    job = await settled(http, f"/jobs/{created.json()['id']}")
    result = await http.get(f"/jobs/{job['id']}/result")

    assert (job["type"], job["status"], job["lane"]) == ("echo", "completed", "high")
    assert {"created_at", "payload", "result", "error"} <= job.keys()
    assert result.json() == {"message": "hello"}
    assert (await http.get("/health")).status_code == 200
    assert (await http.get("/swagger")).status_code == 200
    assert (await http.get("/functions/generate_report")).status_code == 200


async def test_job_worker_system(http, shipped):
    paused = await http.post("/jobs/pause")
    job = (await http.post("/jobs", json={"type": "echo", "priority": "high"})).json()
    waits = await http.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=1"})
    resumed = await http.post("/jobs/resume")

    assert paused.json() == {"message": "Job processing paused"}
    assert (job["status"], waits.json()["status"]) == ("pending", "pending")
    assert resumed.json() == {"message": "Job processing resumed"}
    assert (await settled(http, f"/jobs/{job['id']}"))["status"] == "completed"


async def test_task_queue_service(http, shipped):
    sum_of = {"job_type": "math", "payload": {"a": "5", "b": "7"}}
    created = await http.post("/job", json=sum_of)
    job = await settled(http, f"/job/{created.json()['id']}")
    email = await http.post("/job", json={"job_type": "email", "payload": EMAIL, "delay": "1h"})
    listed = (await http.get("/jobs")).json()["jobs"]

    assert (job["status"], job["result"], job["attempt"], job["max_attempts"]) == ("completed", 12, 1, 3)
    assert email.status_code == 202
    assert {job["id"], email.json()["id"]} == {one["id"] for one in listed}


async def test_job_queue_and_worker_api(http, shipped):
    created = (await http.post("/jobs", json={"type": "echo", "payload": [1, 2]})).json()
    done = await settled(http, f"/jobs/{created['id']}")

    assert (created["type"], created["payload"], created["status"]) == ("echo", [1, 2], "pending")
    assert (done["status"], done["result"]) == ("completed", [1, 2])


async def test_go_job_queue_has_its_types(http, shipped):
    printed = (await http.post("/jobs", json={"type": "print", "payload": "hello"})).json()

    assert (await settled(http, f"/jobs/{printed['id']}"))["status"] == "completed"
    assert (await http.get("/functions/send_email")).status_code == 200
