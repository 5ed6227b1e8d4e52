"""The job that lives under a unique key: found and cancelled by it."""

from urllib.parse import quote

import pytest

from runtime import function
from tests.conftest import deploy


async def post(http, key, **job):
    return await http.post("/jobs", json={"type": "add", "payload": {"a": 1}, "unique": key, "delay": "1h", **job})


@pytest.mark.parametrize("key", ["k", "order/1?x", "ü", "payload of 3"])
async def test_a_job_is_found_and_cancelled_by_its_key(http, deployed, key):
    job = (await post(http, key)).json()
    path = f"/functions/add/unique/{quote(key, safe='')}"

    found = await http.get(path)
    cancelled = await http.delete(path)
    gone = await http.get(path)

    assert (found.json()["id"], cancelled.json()["id"]) == (job["id"], job["id"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/job-not-found")


async def test_another_function_or_key_is_not_found(http, deployed):
    await post(http, "k")

    assert (await http.get("/functions/echo/unique/k")).status_code == 404
    assert (await http.get("/functions/add/unique/other")).status_code == 404
    assert (await http.get("/functions/none/unique/k")).json()["type"] == "/problems/function-unknown"


async def test_a_page_elsewhere_cannot_cancel_by_key(http, deployed):
    await post(http, "k")

    assert (
        await http.delete("/functions/add/unique/k", headers={"Origin": "http://evil.example"})
    ).status_code == 403


async def test_an_alias_has_jobs_of_its_own(http, client):
    @function(aliases=("plus",))
    async def add(a: int) -> int:
        return a

    await deploy(client, add=add)
    job = (await post(http, "k", type="plus")).json()

    assert (await http.get("/functions/plus/unique/k")).json()["id"] == job["id"]
    assert (await http.get("/functions/add/unique/k")).status_code == 404
