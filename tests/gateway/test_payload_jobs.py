"""`POST /functions/{function}/jobs`: the body is the payload, options stand beside it."""

import pytest


async def test_the_body_is_the_payload(http, deployed):
    reply = await http.post("/functions/add/jobs", json={"a": 1, "b": 2})

    assert reply.status_code == 202
    job = reply.json()
    assert (job["type"], job["payload"], reply.headers["location"]) == (
        "add",
        {"a": 1, "b": 2},
        f"/jobs/{job['id']}",
    )


@pytest.mark.parametrize(
    "ask",
    [
        {"params": {"priority": "high", "max_attempts": "7", "delay": "10m"}},
        {"headers": {"Lanework-Priority": "2", "Lanework-Max-Attempts": "7", "Lanework-Delay": "600"}},
    ],
)
async def test_options_stand_in_the_query_or_in_headers(http, deployed, ask):
    job = (await http.post("/functions/add/jobs", json={"a": 1}, **ask)).json()

    assert (job["lane"], job["max_attempts"], job["status"]) == ("high", 7, "scheduled")


async def test_an_option_given_twice_or_unknown_is_refused(http, deployed):
    twice = await http.post("/functions/add/jobs?delay=1", json={"a": 1}, headers={"Lanework-Delay": "2"})
    same = await http.post("/functions/add/jobs?delay=1&delay=2", json={"a": 1})
    unknown = await http.post("/functions/add/jobs?colour=red", json={"a": 1})
    wrong = await http.post("/functions/add/jobs?delay=soon", json={"a": 1})

    assert [reply.status_code for reply in (twice, same, unknown, wrong)] == [422] * 4
    assert "max_attempts" in unknown.json()["detail"]
    assert wrong.json()["errors"][0]["field"] == "/delay"


async def test_no_body_is_no_payload(http, deployed):
    whole = await http.post("/functions/echo/jobs")
    missing = await http.post("/functions/add/jobs")

    assert (whole.status_code, whole.json()["payload"]) == (202, None)
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "/a")


async def test_an_empty_body_from_a_page_elsewhere_is_refused(http, deployed):
    reply = await http.post("/functions/echo/jobs", headers={"Origin": "http://elsewhere.example"})

    assert reply.status_code == 403


async def test_an_idempotency_key_holds_there_too(http, deployed):
    key = {"Idempotency-Key": "k"}
    first = await http.post("/functions/add/jobs", json={"a": 1}, headers=key)
    again = await http.post("/jobs", json={"type": "add", "payload": {"a": 1}}, headers=key)

    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_an_unknown_function_is_404_with_near_names(http, deployed):
    reply = await http.post("/functions/ad/jobs", json={"a": 1})

    assert (reply.status_code, reply.json()["near"]) == (404, ["add"])
