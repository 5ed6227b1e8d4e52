"""Waiting for a job on the request that creates it, and on the one that looks at it; and what has not changed."""

import asyncio

import pytest


async def add(a: int, b: int = 0) -> int:
    return a + b


async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.mark.parametrize("ask", [{"headers": {"Prefer": "wait=20"}}, {"params": {"wait": 20}}])
async def test_a_post_that_waits_gives_the_settled_job(http, worker, ask):
    async with worker(add=add):
        reply = await http.post("/jobs", json={"type": "add", "payload": {"a": 1, "b": 2}}, **ask)

    assert (reply.status_code, reply.json()["status"], reply.json()["result"]) == (200, "completed", 3)
    assert reply.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize("ask", [{"headers": {"Prefer": "wait=1"}}, {"params": {"wait": 1}}])
async def test_what_has_not_settled_in_time_is_shown_as_it_is(http, worker, ask):
    async with worker(slow=slow):
        posted = await http.post("/jobs", json={"type": "slow", "payload": {"seconds": 3}}, **ask)
        looked = await http.get(posted.headers["location"], **ask)

    for reply in (posted, looked):
        assert (reply.status_code, reply.json()["status"]) == (202, "running")
        assert (reply.headers["preference-applied"], reply.headers["retry-after"]) == ("wait=1", "1")


async def test_a_job_that_was_found_by_its_key_can_be_waited_for(http, worker):
    body, key = {"type": "add", "payload": {"a": 1}}, {"Idempotency-Key": "k"}
    async with worker(add=add):
        first = await http.post("/jobs", json=body, headers=key)
        again = await http.post("/jobs", json=body, headers={**key, "Prefer": "wait=20"})

    assert first.status_code == 202
    assert (again.status_code, again.json()["id"], again.json()["result"]) == (200, first.json()["id"], 1)


@pytest.mark.parametrize("wait", ["", "-1", "1.5", "soon", "1e3"])
async def test_a_wait_that_is_no_number_of_seconds_is_refused_and_nothing_stored(http, deployed, wait):
    reply = await http.post("/jobs", json={"type": "add", "payload": {"a": 1}}, params={"wait": wait})

    assert reply.status_code == 422
    assert (await http.get("/jobs")).json()["jobs"] == []


async def test_an_unchanged_job_is_not_sent_again(http, client, worker):
    job = None
    async with worker(add=add):
        job = (await http.post("/jobs?wait=20", json={"type": "add", "payload": {"a": 1}})).json()
        first = await http.get(f"/jobs/{job['id']}")
        known = {"If-None-Match": f'"other", {first.headers["etag"]}'}
        again = await http.get(f"/jobs/{job['id']}", headers=known)

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])


async def test_a_changed_job_has_another_tag(http, deployed):
    job = (await http.post("/jobs", json={"type": "add", "payload": {"a": 1}})).json()
    before = await http.get(f"/jobs/{job['id']}")
    await http.delete(f"/jobs/{job['id']}")
    after = await http.get(f"/jobs/{job['id']}", headers={"If-None-Match": before.headers["etag"]})

    assert (after.status_code, after.json()["status"]) == (200, "cancelled")
