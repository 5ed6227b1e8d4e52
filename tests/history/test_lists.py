"""Lists go on into history, and it is searched by payload and error."""

import asyncio

import pytest

from runtime import Permanent
from runtime.client import Lanework
from runtime.errors import HistoryMissing
from runtime.store.keys import Keys
from tests.conftest import record_key, serving


async def note(n: int = 0, to: str = "", deep: dict | None = None) -> int:
    return n


async def bad(why: str):
    raise Permanent(why)


@pytest.fixture
async def forgotten(archiving, client, worker, redis, settings):
    """`await forgotten([("note", {…}), …])` runs jobs that Redis forgets: at first their records, and the log too
    where `log` says so; returns their ids."""

    async def make(requests, *, log=False, **options):
        async with archiving(), worker(note=note, bad=bad):
            ids = [(await client.enqueue(name, payload, **options)).id for name, payload in requests]
            for job_id in ids:
                await client.wait(job_id, 15)
        logs = [Keys(settings.prefix).log(shard) for shard in range(settings.shards)] if log else []
        await redis.delete(*(record_key(settings, job_id) for job_id in ids), *logs)
        return ids

    return make


async def all_pages(client, **query):
    pages, cursor = [], None
    while True:
        page = await client.page(cursor=cursor, **query)
        pages.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return pages


async def in_order(client, ids):
    """As history lists them: those of the same millisecond by their ids."""
    found = [await client.get(job_id) for job_id in ids]
    return [job.id for job in sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)]


@pytest.mark.one_shard
@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_a_list_has_each_job_once_wherever_it_is(client, forgotten, limit):
    old = await forgotten([("note", {"n": n}) for n in range(3)], log=True)
    newer = await forgotten([("note", {"n": n}) for n in range(3)])
    live = [(await client.enqueue("note")).id for _ in range(3)]

    pages = await all_pages(client, limit=limit)

    found = [job_id for page in pages for job_id in page]
    assert found == [*reversed(live), *reversed(newer), *await in_order(client, old)]
    assert all(len(page) == limit for page in pages[:-1])


async def test_filters_hold_in_history_too(client, forgotten):
    ids = await forgotten([("note", {"n": 1}), ("bad", {"why": "no"}), ("note", {"n": 2})], log=True)
    first = await client.get(ids[0])

    async def found(**query):
        return [job_id for page in await all_pages(client, **query) for job_id in page]

    assert await found(type="note") == await in_order(client, [ids[0], ids[2]])
    assert await found(status="failed") == [ids[1]]
    assert await found(status="pending") == []
    assert await found(lane="high") == []
    assert await found(after=first.created_at) == await in_order(client, ids)
    assert await found(before=first.created_at - 1) == []
    assert await found(visible=lambda type: type == "bad") == [ids[1]]
    (job,) = (await client.page(type="bad", fields=())).jobs
    assert (job.payload, job.omitted, job.archived) == (None, ("payload",), True)


async def test_jobs_of_a_tag_and_of_a_parent_are_found_there(client, forgotten):
    (tagged,) = await forgotten([("note", {"n": 1})], log=True, tags={"order": "o1"})
    live = await client.enqueue("note", tags={"order": "o1"})

    assert [job.id for job in (await client.page(tag="order:o1")).jobs] == [live.id, tagged]
    assert (await client.page(tag="order:o2")).jobs == []
    assert (await client.page(parent=tagged)).jobs == []


@pytest.mark.parametrize(
    ("searched", "found"),
    [
        ({"payload": {"to": "ann@example.com"}}, [2, 0]),
        ({"payload": {"to": "ann@example.com", "n": "1"}}, [0]),
        ({"payload": {"n": "2"}}, [1]),
        ({"payload": {"deep.ok": "true"}}, [2]),
        ({"payload": {'deep.a"b': "x"}}, [2]),
        ({"payload": {"deep.text": "7"}}, [2]),
        ({"payload": {"to": "nobody"}}, []),
        ({"payload": {"to": "a\0b"}}, []),
        ({"error": "SUCH house"}, [3]),
        ({"error": "100%"}, []),
        ({"error": "no such", "type": "note"}, []),
    ],
)
async def test_what_has_settled_is_searched(client, forgotten, searched, found):
    ann = "ann@example.com"
    ids = await forgotten(
        [
            ("note", {"n": 1, "to": ann}),
            ("note", {"n": 2}),
            ("note", {"n": 3, "to": ann, "deep": {"ok": True, 'a"b': "x", "text": "7"}}),
            ("bad", {"why": "no such house"}),
        ]
    )

    assert [job_id for page in await all_pages(client, limit=2, **searched) for job_id in page] == [
        *await in_order(client, [ids[n] for n in found])
    ]


async def test_over_http_and_by_the_command(client, forgotten, settings, process):
    (job_id,) = await forgotten([("note", {"n": 1, "to": "ann@example.com"})])

    async with serving(settings) as http:
        page = (await http.get("/jobs", params={"payload.to": "ann@example.com", "fields": "payload"})).json()
        none = (await http.get("/jobs", params={"payload.to": "bob", "type": "note"})).json()
        odd = await http.get("/jobs", params={"cursor": "history-1-x"})
        url = str(http.base_url)
        command = process("jobs", "--payload", "to=ann@example.com", "--url", url)
        assert await asyncio.to_thread(command.popen.wait, 30) == 0

    assert [(job["id"], job["archived"], job["payload"]["n"]) for job in page["jobs"]] == [(job_id, True, 1)]
    assert none["jobs"] == []
    assert (odd.status_code, odd.json()["type"]) == (422, "/problems/query-invalid")
    assert job_id in command.log.read_text()


async def test_without_a_history_a_search_says_what_is_missing(settings):
    from pydantic import SecretStr

    without = settings.model_copy(update={"history_url": SecretStr("")})
    async with Lanework(without) as client:
        with pytest.raises(HistoryMissing):
            await client.page(error="x")
    async with serving(without) as http:
        reply = await http.get("/jobs", params={"payload.to": "x"})

    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/history-missing")
