"""Jobs over HTTP: creating, looking, listing, waiting."""

import asyncio
import json
import uuid

import pytest

from runtime import function

WAIT = {"Prefer": "wait=20"}


async def add(a: int, b: int = 0) -> int:
    return a + b


async def test_a_job_is_accepted_with_its_location_and_shown_whole(http, deployed):
    reply = await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})

    job = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert uuid.UUID(job["id"]).version == 7
    assert job | {"status": "pending", "payload": {"a": 1}, "lane": "normal", "priority": 1, "attempts": []} == job
    assert (await http.get(reply.headers["location"])).json() == job


async def test_a_job_runs_and_its_result_can_be_waited_for(http, client, worker):
    async with worker(add=add):
        job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1, "b": 2}})).json()
        done = (await http.get(f"/jobs/{job['id']}", headers=WAIT)).json()
        result = await http.get(f"/jobs/{job['id']}/result")

    assert (done["status"], done["result"], done["attempt"]) == ("completed", 3, 1)
    (attempt,) = done["attempts"]
    assert (attempt["attempt"], attempt["outcome"], attempt["error"]) == (1, "completed", None)
    assert attempt["started_at"] == done["started_at"] <= done["finished_at"] == attempt["ended_at"]
    assert (result.status_code, result.json()) == (200, 3)


async def test_the_words_of_the_older_systems_are_understood(http, deployed):
    reply = await http.post("/job", json={"job_type": "add", "input": {"a": 1}})

    assert reply.status_code == 202
    shown = (await http.get(f"/job/{reply.json()['id']}")).json()
    assert (shown["type"], shown["payload"]) == ("add", {"a": 1})


@pytest.mark.parametrize(("priority", "lane"), [("high", "high"), (0, "low"), ("2", "high")])
async def test_a_priority_chooses_the_lane(http, deployed, priority, lane):
    reply = await http.post("/jobs", json={"type": "add", "payload": {"a": 1}, "priority": priority})

    assert reply.json()["lane"] == lane


async def test_a_lenient_client_gets_the_default_lane_and_a_warning(http, deployed):
    body = {"type": "add", "payload": {"a": 1}, "priority": 7}

    reply = await http.post("/jobs", json=body, headers={"Prefer": "handling=lenient"})

    assert (reply.status_code, reply.json()["lane"]) == (202, "normal")
    assert reply.headers["preference-applied"] == "handling=lenient"
    assert "default lane" in reply.json()["warnings"][0]


async def test_a_result_is_refused_while_there_is_none(http, deployed):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()

    reply = await http.get(f"/jobs/{job['id']}/result")

    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/job-unsettled")


async def test_a_failed_job_tells_why_it_has_no_result(http, worker):
    async def broken() -> None:
        raise ValueError("bad day")

    async with worker(broken=broken):
        job = (await http.post("/jobs", json={"type": "broken", "max_attempts": 1})).json()
        done = (await http.get(f"/jobs/{job['id']}", headers=WAIT)).json()
        reply = await http.get(f"/jobs/{job['id']}/result")

    assert (done["status"], done["error"]["type"]) == ("failed", "ValueError")
    assert "bad day" in done["error"]["traceback"]
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/job-failed")
    assert "ValueError: bad day" in reply.json()["detail"]


async def test_jobs_are_listed_newest_first_and_page_by_page(http, deployed):
    made = [(await http.post("/jobs", json={"type": "echo", "payload": n})).json()["id"] for n in range(5)]
    await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})

    first = (await http.get("/jobs", params={"type": "echo", "limit": 3})).json()
    second = (await http.get("/jobs", params={"type": "echo", "limit": 3, "cursor": first["cursor"]})).json()

    assert [job["id"] for job in first["jobs"] + second["jobs"]] == made[::-1]
    assert second["cursor"] is None
    assert (await http.get("/jobs", params={"status": "failed"})).json()["jobs"] == []


async def test_any_json_value_goes_through_unchanged(http, worker):
    async def echo(payload):
        return payload

    values = [None, True, 0, -1.5, 2**53, "", "ü\u2028\U0001f600", [], {}, {"": [None]}, [[[]]], "\x00"]
    async with worker(echo=echo):
        for value in values:
            job = (await http.post("/jobs", json={"type": "echo", "payload": value})).json()
            done = (await http.get(f"/jobs/{job['id']}", headers=WAIT)).json()
            assert (done["payload"], done["result"]) == (value, value)


async def test_many_requests_at_once_are_all_stored(http, deployed):
    async def post(n):
        return (await http.post("/jobs", json={"type": "echo", "payload": n})).json()

    jobs = await asyncio.gather(*(post(n) for n in range(300)))

    assert len({job["id"] for job in jobs}) == 300
    found, cursor = [], None
    while True:
        page = (
            await http.get(
                "/jobs", params={"limit": 100, "fields": "payload"} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        found += [job["payload"] for job in page["jobs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert sorted(found) == list(range(300))


async def test_functions_show_their_schema_policy_and_workers(http, worker):
    async with worker(add=add) as running:
        (shown,) = (await http.get("/functions")).json()["functions"]
        (alive,) = (await http.get("/workers")).json()["workers"]

    assert (shown["name"], shown["lane"], shown["max_attempts"], shown["broken"]) == ("add", "normal", 3, None)
    assert shown["schema"]["required"] == ["a"]
    assert shown["workers"] == [{"id": running.id, "version": None}]
    assert alive["id"] == running.id


async def test_a_module_that_does_not_load_is_shown_with_its_traceback(http, process, tmp_path):
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "broken.py").write_text("import nothing_of_that_name")
    (folder / "works.py").write_text("def handle(): return 1")
    worker = process("worker", "--functions-dir", str(folder))
    worker.await_said("worker.started")

    shown = {fn["name"]: fn for fn in (await http.get("/functions")).json()["functions"]}

    assert "ModuleNotFoundError" in shown["broken"]["broken"]
    assert shown["works"]["broken"] is None
    assert worker.said("function.broken")
    job = (await http.post("/jobs", json={"type": "works"})).json()
    assert (await http.get(f"/jobs/{job['id']}", headers=WAIT)).json()["result"] == 1
    assert json.loads(worker.log.read_text().splitlines()[0])["function"] == "broken"


async def test_a_function_shows_its_lanes_and_its_last_errors(http, worker):
    @function(retry=1)
    async def picky(n: int) -> dict[str, int]:
        """Fails for some.

        Args:
            n: which
        """
        raise ValueError(f"not {n}")

    async with worker(picky=picky):
        for n in range(7):
            job = (await http.post("/jobs", json={"type": "picky", "payload": {"n": n}})).json()
            await http.get(job["links"]["self"], headers=WAIT)
        await http.post("/functions/picky/pause")
        await http.post("/jobs", json={"type": "picky", "payload": {"n": 9}, "priority": "high"})
        shown = (await http.get("/functions/picky")).json()

    assert [error["message"] for error in shown["last_errors"]] == [f"not {n}" for n in (6, 5, 4, 3, 2)]
    assert shown["depth"]["high"] == {"waiting": 1, "running": 0}
    assert shown["schema"]["properties"]["n"]["description"] == "which"
    assert shown["returns"]["additionalProperties"] == {"type": "integer"}
    assert (shown["failed"], shown["waiting"], shown["isolation"]) == (7, 1, "loop")


@pytest.mark.parametrize(("delay", "look_again"), [(None, "1"), ("20s", "20"), ("2h", "60")])
@pytest.mark.usefixtures("deployed")
async def test_a_client_is_to_look_again_when_something_can_have_changed(http, delay, look_again):
    reply = await http.post("/jobs", json={"type": "add", "payload": {"a": 1}, "delay": delay})

    assert (reply.status_code, reply.headers["Retry-After"]) == (202, look_again)
