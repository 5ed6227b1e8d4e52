"""Odd records, lost keys, databases that hang: history goes on, and lists stay right."""

import asyncio
import tracemalloc
from dataclasses import replace

import msgpack
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from runtime.client import Lanework
from runtime.errors import HistoryUnavailable, SettingsInvalid
from runtime.history import queries as queries_module
from runtime.history.archiver import Archiver
from runtime.history.database import open_engine
from runtime.history.erasure import find
from runtime.history.queries import Queries
from runtime.history.search import Search
from runtime.history.writer import Writer
from runtime.jobs.request import JobRequest
from runtime.store.keys import Keys
from runtime.values import ids
from runtime.values.clock import now_ms
from tests.conftest import record_key, serving
from tests.history.conftest import until_archived, until_archiving
from tests.history.test_figures import job as made
from tests.history.test_lists import all_pages


async def note(n: int = 0, to: str = "", text: str = "") -> int:
    return n


async def settled(client, payloads, **options):
    found = await client.enqueue_many("note", payloads, **options)
    for job_id in found:
        await client.wait(job_id, 20)
    return found


async def test_keys_that_are_lost_with_the_servers_data_are_made_again(
    client, worker, store, engine, settings, redis
):
    keys = Keys(settings.prefix)
    archiver = Archiver(store.archive, Writer(engine), 3600)
    task = asyncio.create_task(archiver.run())
    await until_archiving(store)
    await redis.delete(keys.archiving(0), keys.archive(0))
    await until_archiving(store)

    async with worker(note=note):
        (job_id,) = await settled(client, [{}])
    await until_archived(store)
    archiver.stop()
    await task

    assert list(await Queries(engine).get_many([job_id])) == [job_id]


@pytest.mark.parametrize(
    "odd",
    [
        {"status": "failed", "error": msgpack.packb("boom")},
        {"status": b"\xff"},
        {"created": 10**20},
        {"type": b"\0\xff"},
        {"started": 10**18},
        {"finished": b"x"},
        {"attempt": 2**40},
        {"worker": "a\0b", "version": "\0"},
    ],
    ids=str,
)
async def test_an_odd_record_keeps_no_other_job_from_history(odd, client, worker, store, engine, settings, redis):
    await store.archive.start(3600)
    async with worker(note=note):
        first, second = await settled(client, [{"n": 1}, {"n": 2}])
    await redis.hset(record_key(settings, first), mapping=odd)

    archiver = Archiver(store.archive, Writer(engine), 3600)
    task = asyncio.create_task(archiver.run())
    await until_archived(store)
    archiver.stop()
    await task

    assert second in await Queries(engine).get_many([first, second])


@pytest.mark.parametrize("left", [1, 150, 299])
async def test_where_the_log_is_cut_each_job_is_listed_once(left, archiving, client, worker, redis, settings):
    async with archiving(), worker(note=note):
        found = await settled(client, [{"n": n} for n in range(300)])
    await redis.xtrim(Keys(settings.prefix).log(0), maxlen=left, approximate=False)

    listed = [job_id for page in await all_pages(client, limit=100) for job_id in page]

    assert (len(listed), set(listed)) == (300, set(found))


async def test_a_log_that_is_cut_between_two_pages_doubles_nothing(archiving, client, worker, redis, settings):
    async with archiving(), worker(note=note):
        found = []
        for n in range(10):
            found += await settled(client, [{"n": n}])
            await until_a_later_ms()
    first = await client.page(limit=5)
    await redis.xtrim(Keys(settings.prefix).log(0), maxlen=2, approximate=False)

    rest, cursor = [], first.cursor
    while cursor is not None:
        page = await client.page(limit=5, cursor=cursor)
        rest += [job.id for job in page.jobs]
        cursor = page.cursor

    assert [job.id for job in first.jobs] + rest == found[::-1]


async def until_a_later_ms():
    begun = now_ms()
    while now_ms() <= begun + 1:
        await asyncio.sleep(0)


async def test_children_are_listed_whichever_record_goes_first(archiving, client, worker, redis, settings):
    async with archiving(), worker(note=note):
        job = await client.enqueue("note", then=[JobRequest("note")])
        await client.wait(job, 20)
        (child,) = (await client.get(job.id)).children
        await client.wait(child, 20)

    assert [one.id for one in (await client.page(parent=job.id)).jobs] == [child]
    await redis.delete(record_key(settings, job.id))
    assert [one.id for one in (await client.page(parent=job.id)).jobs] == [child]
    await redis.delete(record_key(settings, child))
    assert [one.id for one in (await client.page(parent=job.id)).jobs] == [child]


async def test_a_job_of_a_time_with_more_shards_is_listed(client, engine):
    of_shard_2 = replace(made("note", now_ms()), id=ids.new_id(2))
    await Writer(engine).write([of_shard_2])

    assert [job.id for job in (await client.page()).jobs] == [of_shard_2.id]


async def test_odd_searches_find_nothing_and_break_nothing(client, engine, settings):
    await Writer(engine).write([replace(made("note", now_ms()), payload={"n": float("nan"), "big": 2**64 - 1})])
    odd = ["[" * 3000, "9" * 400, "NaN", "1e999", "-0", "", '"', "true", "0x1", str(2**63)]

    async with serving(settings) as http:
        replies = [await http.get("/jobs", params={"payload.n": value}) for value in odd]
        exact = await http.get("/jobs", params={"payload.big": str(2**64 - 1)})

    assert [(reply.status_code, reply.json()["jobs"]) for reply in replies] == [(200, [])] * len(odd)
    assert len(exact.json()["jobs"]) == 1


async def test_a_text_that_is_longer_than_what_is_indexed_is_compared_whole(client, engine):
    long = "x" * 300
    rows = [replace(made("note", now_ms()), payload={"to": text}) for text in (long, long + "y", "x" * 200)]
    await Writer(engine).write(rows)

    assert [job.id for job in (await client.page(payload={"to": long})).jobs] == [rows[0].id]
    assert [job.id for job in (await client.page(payload={"to": "x" * 200})).jobs] == [rows[2].id]


async def test_a_page_holds_no_more_than_it_shows(archiving, client, worker, redis, settings):
    async with archiving(), worker(note=note):
        found = await settled(client, [{"text": "x" * 200_000}] * 100)
    await redis.delete(*(record_key(settings, job_id) for job_id in found))

    tracemalloc.start()
    page = await client.page(limit=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(page.jobs) == 1
    assert peak < 5_000_000


async def test_a_database_that_hangs_is_given_up(postgres, monkeypatch, settings):
    hangs = asyncio.Event()

    async def pass_on(reader, writer):
        try:
            while data := await reader.read(65536):
                if hangs.is_set():
                    await asyncio.Event().wait()
                writer.write(data)
        finally:
            writer.close()

    tasks = set()

    async def connected(reader, writer):
        theirs, ours = await asyncio.open_connection("127.0.0.1", postgres.port)
        tasks.update(asyncio.create_task(pass_on(*pair)) for pair in ((reader, ours), (theirs, writer)))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = make_url(f"{postgres.url}/postgres").set(port=port).render_as_string(hide_password=False)
        async with Lanework(settings.model_copy(update={"history_url": SecretStr(url)})) as client:
            with pytest.raises(HistoryUnavailable, match="jobs"):  # there are no tables
                await client.get(ids.new_id(0))
            monkeypatch.setattr(queries_module, "_WITHIN", 0.5)
            hangs.set()
            with pytest.raises(HistoryUnavailable, match="does not answer"):
                await asyncio.wait_for(client.get(ids.new_id(0)), 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_not_archived_yet_is_waited_for_before_it_is_erased(
    client, worker, store, engine, monkeypatch
):
    lag, looks = store.archive.lag, []

    async def slow_lag():
        found = await lag()
        looks.append(found.seconds)
        await asyncio.sleep(found.seconds)  # longer under way than the job had waited
        return found

    monkeypatch.setattr(store.archive, "lag", slow_lag)
    await store.archive.start(3600)
    async with worker(note=note):
        (job_id,) = await settled(client, [{"to": "ann"}])
    finding = asyncio.create_task(find(store, engine, Search(payload={"to": "ann"})))
    while len(looks) < 2 and not finding.done():
        await asyncio.sleep(0.01)
    assert not finding.done()

    archiver = Archiver(store.archive, Writer(engine), 3600)
    task = asyncio.create_task(archiver.run())
    assert await asyncio.wait_for(finding, 20) == [job_id]
    archiver.stop()
    await task


@pytest.mark.parametrize(
    "url", ["", "mysql://a/b", "sqlite://", "sqlite:///:memory:", "postgresql://a/b?nosuch=1", "x"]
)
def test_a_url_that_names_no_database_is_refused(url):
    with pytest.raises(SettingsInvalid):
        open_engine(url)


async def test_sslmode_is_understood(postgres):
    engine = open_engine(f"{postgres.url}/postgres?sslmode=disable")
    async with engine.connect():
        pass
    await engine.dispose()
