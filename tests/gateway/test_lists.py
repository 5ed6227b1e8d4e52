"""Lists of jobs: bounded in bytes, and one odd record takes no page down."""

import json

import msgpack
import pytest

from runtime import Context
from runtime.store.keys import Keys


def nested(deep):
    return b"\x91" * deep + b"\xc0"


ODD = {
    "keys that are no text": msgpack.packb({"done": 1, "total": 2, "note": {("eu", "de"): 3}}),
    "nested 300 deep": nested(300),
    "nested 2000 deep": nested(2000),
    "a key that is a list": b"\x81\x91\x01\x02",
    "cut": b"\x92\x01",
    "no msgpack": b"\xc1",
}


@pytest.fixture
async def spoil(redis, settings):
    async def spoil(job_id, **fields):
        await redis.hset(Keys(settings.prefix).job(0, job_id), mapping=fields)

    return spoil


async def failed(client, worker, **options):
    from runtime import Permanent

    async def add(a: int, b: int = 0) -> int:
        raise Permanent("no")

    async with worker(add=add):
        job = await client.enqueue("add", {"a": 1}, **options)
        return await client.wait(job.id, 20)


@pytest.mark.parametrize("field", ["progress", "payload", "result"])
@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_value_takes_no_page_down_and_its_job_can_be_deleted(
    http, client, deployed, worker, spoil, field, odd
):
    sound = await client.enqueue("add", {"a": 1})
    dead = await failed(client, worker, priority="low")
    await spoil(dead.id, **{field: ODD[odd]})

    one = await http.get(f"/jobs/{dead.id}")
    listed = await http.get("/jobs")
    in_dead = await http.get("/functions/add/dead")
    of_function = await http.get("/functions/add")

    assert one.status_code == 200
    assert "$unreadable" in one.text
    assert {job["id"] for job in listed.json()["jobs"]} == {dead.id, sound.id}
    assert dead.id in {job["id"] for job in in_dead.json()["jobs"]}
    assert of_function.status_code == 200
    assert (await http.delete("/functions/add/dead")).json()["purged"] >= 1
    assert (await http.get(f"/jobs/{dead.id}")).status_code == 404


async def test_a_record_that_cannot_be_read_at_all_is_shown_as_such(http, client, deployed, spoil):
    job = await client.enqueue("add", {"a": 1})
    await spoil(job.id, created="yesterday", history=b"\xc1")

    (shown,) = (await http.get("/jobs")).json()["jobs"]

    assert (shown["id"], shown["error"]["type"]) == (job.id, "RecordUnreadable")
    assert (await http.get(f"/jobs/{job.id}")).json()["error"]["type"] == "RecordUnreadable"
    assert (await http.delete(f"/jobs/{job.id}")).status_code == 200


async def test_lists_leave_large_payloads_and_results_out_and_say_so(http, client, deployed, spoil):
    large, small = "x" * 5000, "x" * 100
    first = await client.enqueue("echo", large)
    await client.enqueue("echo", small)
    await spoil(first.id, result=msgpack.packb(large))

    shown_small, shown = (await http.get("/jobs?fields=payload,result")).json()["jobs"]

    assert (shown["payload"], shown["payload_omitted"], shown["result_omitted"]) == (None, True, True)
    assert shown_small["payload"] == small
    assert "payload_omitted" not in shown_small
    assert (await http.get(f"/jobs/{first.id}")).json()["payload"] == large


@pytest.mark.parametrize("way", ["", "tag=a:b", "status=pending", "type=echo"])
async def test_lists_show_payloads_and_results_only_where_they_are_asked_for(http, client, deployed, spoil, way):
    job = await client.enqueue("echo", {"n": 1}, tags={"a": "b"})
    await spoil(job.id, result=msgpack.packb(2))

    async def shown(fields):
        (found,) = (await http.get(f"/jobs?{way}{fields}")).json()["jobs"]
        omitted = {name for name in ("payload", "result") if found.get(f"{name}_omitted")}
        return found["payload"], found["result"], omitted

    assert await shown("") == (None, None, {"payload", "result"})
    assert await shown("&fields=payload") == ({"n": 1}, None, {"result"})
    assert await shown("&fields=payload,result") == ({"n": 1}, 2, set())
    assert (await http.get("/jobs?fields=payload,error")).status_code == 422
    assert (await http.get(f"/jobs/{job.id}")).json()["payload"] == {"n": 1}


async def test_a_page_of_jobs_of_a_megabyte_each_stays_small(http, client, deployed):
    await client.enqueue_many("echo", ["x" * 1_000_000] * 150)

    reply = await http.get("/jobs", params={"limit": 150})

    assert len(reply.json()["jobs"]) == 150
    assert len(reply.content) < 200_000


async def test_a_page_is_bounded_in_bytes_and_its_cursor_goes_on(http, client, deployed, spoil, monkeypatch):
    monkeypatch.setattr("runtime.store.pages.PAGE_BYTES", 20_000)
    ids = await client.enqueue_many("echo", ["x" * 3000] * 20)

    seen, pages, cursor = [], 0, None
    while pages == 0 or cursor:
        params = {"limit": 15, "fields": "payload", **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/jobs", params=params)).json()
        assert page["partial"] == (len(page["jobs"]) < 15 and page["cursor"] is not None)
        seen += [job["id"] for job in page["jobs"]]
        cursor, pages = page["cursor"], pages + 1

    assert seen == ids[::-1]
    assert pages > 2


async def test_scheduled_jobs_are_bounded_in_bytes_too(http, client, deployed, monkeypatch):
    monkeypatch.setattr("runtime.store.pages.PAGE_BYTES", 20_000)
    ids = {(await client.enqueue("echo", "x" * 3000, delay=60 + n)).id for n in range(20)}

    seen, cursor = [], ""
    while cursor is not None:
        params = {"status": "scheduled", **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/jobs", params=params)).json()
        assert len(json.dumps(page)) < 60_000
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]

    assert (set(seen), len(seen)) == (ids, 20)


async def test_a_rare_filter_says_that_it_has_not_looked_at_everything(http, client, deployed, monkeypatch):
    monkeypatch.setattr("runtime.store.pages.SCAN_PAGE", 5)
    monkeypatch.setattr("runtime.store.pages.SCAN_LIMIT", 10)
    wanted = await client.enqueue("add", {"a": 1})
    await client.enqueue_many("echo", [None] * 25)

    pages = [(await http.get("/jobs", params={"type": "add"})).json()]
    while pages[-1]["cursor"]:
        pages.append((await http.get("/jobs", params={"type": "add", "cursor": pages[-1]["cursor"]})).json())

    assert (pages[0]["jobs"], pages[0]["partial"]) == ([], True)
    assert [job["id"] for page in pages for job in page["jobs"]] == [wanted.id]
    assert pages[-1]["partial"] is False


@pytest.mark.parametrize("cursor", ["0-0", "00-0", "0-00", "../", "x" * 5000])
async def test_a_cursor_that_no_page_gave_is_refused(http, deployed, cursor):
    reply = await http.get("/jobs", params={"cursor": cursor})

    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/query-invalid")


async def test_a_list_may_be_of_a_lane_a_time_or_a_parent(http, client, worker, deployed):
    async def root(ctx: Context) -> None:
        ctx.enqueue("echo", 1, priority="low")
        ctx.enqueue("echo", 2)

    async def echo(payload) -> None: ...

    async with worker(root=root, echo=echo):
        parent = await client.wait(await client.enqueue("root"), 10)
        for child in parent.children:
            await client.wait(child, 10)
    last = await client.enqueue("echo", 3, priority="high")

    async def listed(**query):
        reply = await http.get("/jobs", params=query | {"fields": "payload"})
        assert reply.status_code == 200, reply.text
        return [job["payload"] for job in reply.json()["jobs"]]

    assert await listed(lane="low") == [1]
    assert sorted(await listed(parent=parent.id)) == [1, 2]
    assert await listed(parent=parent.id, lane="normal") == [2]
    assert await listed(parent=last.id) == []
    assert await listed(after=last.created_at, type="echo") == [3]
    assert await listed(before=parent.created_at) == [None]
    assert await listed(after="2030-01-31T09:00:00Z") == []


async def test_children_are_listed_page_by_page(http, client, worker):
    async def root(ctx: Context) -> None:
        for n in range(5):
            ctx.enqueue("leaf", {"n": n}, delay=600)

    async def leaf(n: int) -> None: ...

    async with worker(root=root, leaf=leaf):
        parent = await client.wait(await client.enqueue("root"), 10)
    first = (await http.get("/jobs", params={"parent": parent.id, "limit": 3})).json()
    second = (await http.get("/jobs", params={"parent": parent.id, "limit": 3, "cursor": first["cursor"]})).json()

    assert (len(first["jobs"]), len(second["jobs"]), second["cursor"]) == (3, 2, None)
    assert {job["id"] for job in [*first["jobs"], *second["jobs"]]} == set(parent.children)


@pytest.mark.parametrize(
    "query", ["after=x", "before=", "parent=b", "parent=", "lane=", "lane=none", "tags=a:1", "tag=a"]
)
async def test_a_filter_that_cannot_be_is_refused(http, deployed, query):
    assert (await http.get(f"/jobs?{query}")).status_code == 422
