"""What people do over HTTP: schedule, cancel, retry, pause, replay; and what stops a foreign page from it."""

import pytest

from runtime import Permanent, function

WAIT = {"Prefer": "wait=20"}
JSON = {"Content-Type": "application/json"}


async def add(a: int, b: int = 0) -> int:
    return a + b


async def post(http, **job):
    return await http.post("/jobs", json={"type": "add", "payload": {"a": 1}, **job})


async def test_a_scheduled_job_shows_its_time_and_can_be_moved_and_run_now(http, client, worker):
    async with worker(add=add):
        job = (await post(http, delay="1h")).json()
        assert (job["status"], job["run_at"] is not None) == ("scheduled", True)
        listed = (await http.get("/jobs", params={"status": "scheduled"})).json()["jobs"]
        moved = await http.patch(f"/jobs/{job['id']}", json={"run_at": "2099-01-01T00:00:00Z"})
        run = await http.post(f"/jobs/{job['id']}/run")
        done = (await http.get(f"/jobs/{job['id']}", headers=WAIT)).json()

    assert [one["id"] for one in listed] == [job["id"]]
    assert moved.json()["run_at"] == "2099-01-01T00:00:00.000Z"
    assert (run.status_code, done["status"]) == (200, "completed")


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_a_waiting_job_is_cancelled(http, deployed, method):
    job = (await post(http)).json()
    path = f"/jobs/{job['id']}" + ("/cancel" if method == "POST" else "")

    reply = await http.request(method, path)

    assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
    again = await http.request(method, path)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/status-conflict")
    assert (await http.get(f"/jobs/{job['id']}/result")).status_code == 409


async def test_everything_is_paused_and_resumed_with_the_words_of_the_older_systems(http, deployed):
    paused = await http.post("/jobs/pause")
    state = (await http.get("/jobs/pause")).json()
    resumed = await http.post("/jobs/resume")

    assert paused.json() == {"message": "Job processing paused"}
    assert state == {"paused": True, "functions": [], "lanes": []}
    assert resumed.json() == {"message": "Job processing resumed"}
    assert (await http.get("/jobs/pause")).json()["paused"] is False


async def test_one_function_or_lane_is_paused(http, deployed):
    assert (await http.post("/functions/add/pause")).json() == {"message": "Function add paused"}
    assert (await http.post("/lanes/high/pause")).status_code == 200
    assert (await http.get("/jobs/pause")).json() == {"paused": False, "functions": ["add"], "lanes": ["high"]}
    assert (await http.get("/functions/add")).json()["paused"] is True
    await http.post("/functions/add/resume")
    await http.post("/lanes/high/resume")

    assert (await http.post("/functions/ad/pause")).json()["near"] == ["add"]
    assert (await http.post("/lanes/urgent/pause")).status_code == 422


async def test_failed_jobs_are_listed_replayed_and_purged(http, worker):
    @function(retry=1)
    async def broken(n: int) -> None:
        raise Permanent(f"no {n}")

    async with worker(broken=broken):
        for n in range(3):
            job = (await http.post("/jobs", json={"type": "broken", "payload": {"n": n}})).json()
            await http.get(f"/jobs/{job['id']}", headers=WAIT)
        page = (await http.get("/functions/broken/dead", params={"limit": 2})).json()
        rest = (await http.get("/functions/broken/dead", params={"limit": 2, "cursor": page["cursor"]})).json()
        one = await http.post(f"/jobs/{job['id']}/retry")
        await http.get(f"/jobs/{job['id']}", headers=WAIT)
        some = await http.post("/functions/broken/dead/replay", json={"error": "no 1", "rate": "10/s"})
        purged = await http.delete("/functions/broken/dead", params={"error": "no 2"})

    assert [j["error"]["message"] for j in (*page["jobs"], *rest["jobs"])] == ["no 2", "no 1", "no 0"]
    assert (one.status_code, some.status_code, some.json()) == (202, 202, {"replayed": 1})
    assert purged.json() == {"purged": 1}


async def test_an_idempotency_key_finds_the_first_job(http, deployed):
    async def ask(payload, **more):
        headers = {"Idempotency-Key": "k", **more}
        return await http.post("/jobs", json={"type": "add", "payload": payload}, headers=headers)

    first, second = await ask({"a": 1}), await ask({"a": 1})
    other = await ask({"a": 2})
    stranger = await ask({"a": 2}, Authorization="Bearer someone-else")

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["type"]) == (422, "/problems/key-reused")
    assert stranger.status_code == 202


async def test_a_full_queue_answers_429_with_retry_after(http, client):
    from tests.conftest import deploy

    @function(max_waiting=1)
    async def f() -> None: ...

    await deploy(client, f=f)
    await http.post("/jobs", json={"type": "f"})

    reply = await http.post("/jobs", json={"type": "f"})

    assert (reply.status_code, reply.json()["type"]) == (429, "/problems/queue-full")
    assert int(reply.headers["retry-after"]) >= 1


async def test_then_jobs_are_read_and_checked_like_any_other(http, deployed):
    bad = await post(http, then=[{"type": "nobody"}])
    wrong = await post(http, then=[{"type": "add", "payload": {"a": "x"}}])
    no_list = await post(http, then={"type": "add"})

    deep = await http.post(
        "/jobs", content='{"type":"add","then":[' * 300 + '{"type":"add"}' + "]}" * 300, headers=JSON
    )

    assert [bad.status_code, wrong.status_code, no_list.status_code, deep.status_code] == [404, 422, 422, 422]
    assert (await http.get("/jobs")).json()["jobs"] == []
    assert (await post(http, then=[{"type": "add", "payload": {"a": 2}}])).status_code == 202


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_at", "tomorrow"),
        ("delay", "soon"),
        ("ttl", []),
        ("backoff", {"base": "x"}),
        ("unique", ""),
        ("start_before", True),
    ],
)
async def test_a_wrong_option_is_refused_by_field(http, deployed, field, value):
    reply = await post(http, **{field: value})

    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/job-invalid")
    assert reply.json()["errors"][0]["field"] == f"/{field}"


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_a_page_of_another_site_can_change_nothing(http, deployed, headers):
    job = (await post(http, delay=60)).json()

    replies = [
        await http.post(path, headers=headers)
        for path in ("/jobs/pause", f"/jobs/{job['id']}/cancel", f"/jobs/{job['id']}/run", "/functions/add/pause")
    ]

    assert {reply.status_code for reply in replies} == {403}
    assert (await http.get("/jobs/pause")).json() == {"paused": False, "functions": [], "lanes": []}


async def test_a_functions_schedules_show_when_they_run(http, client):
    from tests.conftest import deploy

    @function(schedule="0 9 * * *", timezone="Europe/Berlin")
    async def daily() -> None: ...

    await deploy(client, daily=daily)

    (schedule,) = (await http.get("/functions/daily")).json()["schedules"]

    assert (schedule["cron"], schedule["timezone"], schedule["last_run_at"]) == ("0 9 * * *", "Europe/Berlin", None)
    assert schedule["next_run_at"].endswith((":00:00.000Z",))


async def test_huge_numbers_are_refused_and_break_nothing(http, deployed):
    nines = "9" * 5000
    replies = [
        await http.post("/functions/add/dead/replay", json={"rate": f"{nines}/s"}),
        await http.post("/functions/add/dead/replay", json={"rate": "1/99999999d"}),
        await http.delete("/functions/add/dead", params={"limit": nines}),
        await http.get("/jobs", params={"cursor": "0-0"}),
        await post(http, delay=nines),
        await post(http, run_at="9999-12-31T23:59:59-14:00"),
    ]

    assert {reply.status_code for reply in replies} == {422}
    assert (await http.get("/jobs")).json()["jobs"] == []
