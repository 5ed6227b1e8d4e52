"""What a job emits and logs: as it comes, and afterwards, read by clients that are not ours."""

import asyncio
import json
import logging

import pytest
import structlog
from httpx_sse import aconnect_sse

from runtime import Context, RetryLater, function, log
from runtime.errors import StoreUnavailable
from runtime.store.attempt_store import AttemptStore
from runtime.store.keys import Keys
from runtime.testing import call
from tests.conftest import serving

TEXT = {"Accept": "text/plain"}
WAIT = 20


@pytest.fixture(autouse=True)
def logs(settings):
    """Lines are kept of what reaches the log, which a worker's process sets up."""
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    log.configure(settings.model_copy(update={"log_format": "json"}))
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


async def words(ctx: Context, count: int = 3) -> int:
    for n in range(1, count + 1):
        ctx.emit(f"word {n} ")
        ctx.log.info("word.emitted", n=n)
        await asyncio.sleep(0.03)
    return count


async def post(http, type, payload=None):
    return (await http.post("/jobs", json={"type": type, "payload": payload})).json()["id"]


async def settled(http, job_id):
    return (await http.get(f"/jobs/{job_id}?wait={WAIT}")).json()


async def events(http, path, limit=1000, **headers):
    found = []
    async with aconnect_sse(http, "GET", path, headers=headers) as source:
        if source.response.status_code != 204:
            async for event in source.aiter_sse():
                found.append(event)
                if len(found) == limit:
                    break
    return found


def outputs(found):
    return [event.json()["output"] for event in found if event.event == "output"]


async def test_a_stream_has_output_and_log_as_they_come_and_the_end_last(http, worker):
    body = {"type": "words", "payload": {"count": 5}}
    async with worker(words=words), aconnect_sse(http, "POST", "/jobs", json=body) as source:
        found = [event async for event in source.aiter_sse()]

    assert outputs(found) == [f"word {n} " for n in range(1, 6)]
    lines = [event.json() for event in found if event.event == "log"]
    assert [(line["level"], line["event"], line["fields"]) for line in lines] == [
        ("info", "word.emitted", {"n": n}) for n in range(1, 6)
    ]
    assert lines[0]["at"].endswith("Z")
    assert {event.json()["attempt"] for event in found if event.event == "output"} == {1}
    assert found[-1].event == "settled"


async def test_a_broken_connection_goes_on_without_a_gap_or_a_double(http, worker):
    async with worker(words=words):
        job_id = await post(http, "words", {"count": 12})
        found = []
        while not found or found[-1].event != "settled":
            last = {"Last-Event-ID": found[-1].id} if found else {}
            found += await events(http, f"/jobs/{job_id}", limit=2, **last)
        behind = await events(http, f"/jobs/{job_id}", **{"Last-Event-ID": found[-1].id})

    assert outputs(found) == [f"word {n} " for n in range(1, 13)]
    assert [event.json()["fields"]["n"] for event in found if event.event == "log"] == list(range(1, 13))
    assert len({event.id for event in found}) == len(found)
    assert behind == []


async def test_who_comes_late_has_it_from_the_start(http, worker):
    async with worker(words=words):
        job_id = await post(http, "words")
        await settled(http, job_id)
        found = await events(http, f"/jobs/{job_id}")
        resumed = await events(http, f"/jobs/{job_id}", **{"Last-Event-ID": found[1].id})

    assert outputs(found) == ["word 1 ", "word 2 ", "word 3 "]
    assert [event.event for event in found[-1:]] == ["settled"]
    assert [event.id for event in resumed] == [event.id for event in found[2:]]


async def test_the_output_so_far_is_shown_and_what_it_can_be(http, worker):
    async def mixed(ctx: Context) -> None:
        for chunk in ("text", b"\x00\xff", {"n": [1, None]}, 7):
            ctx.emit(chunk)

    async with worker(mixed=mixed, words=words):
        job_id = await post(http, "mixed")
        await settled(http, job_id)
        whole = (await http.get(f"/jobs/{job_id}/output")).json()
        raw = await http.get(f"/jobs/{job_id}/output", headers=TEXT)
        nothing = (await http.get(f"/jobs/{await post(http, 'words', {'count': 0})}/output")).json()

    assert whole == {"attempt": 1, "dropped": 0, "output": ["text", {"$base64": "AP8="}, {"n": [1, None]}, 7]}
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.content == b'text\x00\xff{"n":[1,null]}\n7\n'
    assert nothing == {"attempt": 0, "dropped": 0, "output": []}


async def test_raw_output_comes_as_it_is_emitted_and_ends_with_the_attempt(http, worker):
    go_on = asyncio.Event()

    async def halves(ctx: Context) -> None:
        ctx.emit("first ")
        await go_on.wait()
        ctx.emit("second")

    async with worker(halves=halves):
        job_id = await post(http, "halves")
        async with http.stream("GET", f"/jobs/{job_id}/output", headers=TEXT) as reply:
            chunks = reply.aiter_text()
            first = await anext(chunks)
            go_on.set()
            rest = "".join([chunk async for chunk in chunks])

    assert (first, rest) == ("first ", "second")


@pytest.mark.parametrize("isolation", ["loop", "thread", "process"])
async def test_a_new_attempt_starts_its_output_anew_and_the_log_goes_on(
    http, client, worker, folder, settings, isolation
):
    kind = "async def" if isolation == "loop" else "def"
    folder.write(
        twice=f"""
        import logging
        from runtime import Context, RetryLater, function
        @function(isolation="{isolation}")
        {kind} handle(ctx: Context):
            ctx.emit(f"attempt {{ctx.job.attempt}}")
            ctx.log.warning("tried", attempt_number=ctx.job.attempt)
            logging.getLogger("lib").info("by a library")
            print("printed")
            if ctx.job.attempt == 1:
                raise RetryLater(0)
        """
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        job_id = await post(http, "twice")
        found = await events(http, f"/jobs/{job_id}")
        output = (await http.get(f"/jobs/{job_id}/output")).json()
        raw = (await http.get(f"/jobs/{job_id}/output", headers=TEXT)).text
        lines = (await http.get(f"/jobs/{job_id}/log")).json()["lines"]

    assert output == {"attempt": 2, "dropped": 0, "output": ["attempt 2"]}
    assert raw == "attempt 2"
    assert outputs(found) == ["attempt 1", "attempt 2"]
    said = [(line["attempt"], line["level"], line["event"]) for line in lines]
    for attempt in (1, 2):
        assert (attempt, "warning", "tried") in said
        assert (attempt, "info", "library.said") in said
    if isolation == "process":  # in this process the test's own runner captures what is printed
        assert (1, "info", "function.printed") in said


async def test_the_status_that_begins_an_attempt_comes_before_its_output(http, worker):
    async def twice(ctx: Context) -> None:
        ctx.emit(ctx.job.attempt)
        if ctx.job.attempt < 3:
            raise RetryLater(0.2)

    async with worker(twice=twice), aconnect_sse(http, "POST", "/jobs", json={"type": "twice"}) as source:
        found = [event async for event in source.aiter_sse()]

    order = [
        (event.event, event.json()["attempt"])
        for event in found
        if event.event == "output" or (event.event == "status" and event.json()["status"] == "running")
    ]
    for attempt in (2, 3):
        assert order.index(("status", attempt)) < order.index(("output", attempt))
    assert outputs(found) == [1, 2, 3]


async def test_the_newest_output_is_kept_and_what_is_gone_is_counted(http, client, worker, settings):
    async def much(ctx: Context) -> None:
        for n in range(100):
            ctx.emit(f"{n:04}" + "x" * 96)

    async with worker(settings.model_copy(update={"output_limit": 4096}), much=much):
        job_id = await post(http, "much")
        await settled(http, job_id)
        kept = (await http.get(f"/jobs/{job_id}/output")).json()
        raw = (await http.get(f"/jobs/{job_id}/output", headers=TEXT)).text
        found = await events(http, f"/jobs/{job_id}")

    assert len(kept["output"]) + kept["dropped"] == 100
    assert 10 <= len(kept["output"]) <= 14
    assert kept["output"][-1].startswith("0099")
    assert raw == "".join(kept["output"])
    (gap,) = [event for event in found if event.event == "gap"]
    assert gap.json() == {"missed": kept["dropped"], "of": "output"}


async def test_the_last_two_hundred_lines_are_kept(http, worker):
    async def chatty(ctx: Context) -> None:
        for n in range(500):
            ctx.log.info("said", n=n)

    async with worker(chatty=chatty):
        job_id = await post(http, "chatty")
        await settled(http, job_id)
        lines = (await http.get(f"/jobs/{job_id}/log")).json()["lines"]

    assert [line["fields"]["n"] for line in lines] == list(range(300, 500))


@pytest.mark.parametrize("count", [200, 450])
async def test_who_resumes_before_an_attempt_that_said_much_gets_all_in_order(http, worker, count):
    async def much(ctx: Context) -> None:
        if ctx.job.attempt == 1:
            ctx.emit(0)
            raise RetryLater(0.1)
        for n in range(1, count + 1):
            ctx.emit(n)

    async with worker(much=much):
        async with aconnect_sse(http, "POST", "/jobs", json={"type": "much"}) as source:
            before = []
            async for event in source.aiter_sse():
                before.append(event)
                if event.event == "output":
                    break
        job_id = before[0].json()["id"]
        await settled(http, job_id)
        async with asyncio.timeout(WAIT):
            rest = await events(http, f"/jobs/{job_id}", **{"Last-Event-ID": before[-1].id})

    assert outputs(rest) == list(range(1, count + 1))
    assert rest[-1].event == "settled"


async def test_a_chunk_that_did_not_come_through_is_sent_again_while_the_handler_runs(
    http, client, worker, monkeypatch
):
    emit, go_on = AttemptStore.emit, asyncio.Event()
    failures = [StoreUnavailable("away")]

    async def away_once(self, batch):
        if failures:
            raise failures.pop()
        await emit(self, batch)

    async def emits(ctx: Context) -> None:
        ctx.emit("a")
        await go_on.wait()

    monkeypatch.setattr(AttemptStore, "emit", away_once)
    async with worker(emits=emits):
        job_id = await post(http, "emits")
        async with asyncio.timeout(WAIT):
            while (await client.output(job_id)).chunks != ["a"]:
                await asyncio.sleep(0.01)
        go_on.set()


async def test_what_was_emitted_stays_as_long_as_the_record(client, worker, redis, settings):
    @function(keep="30d")
    async def long_kept(ctx: Context) -> None:
        if ctx.job.attempt == 1:
            ctx.emit("x")
            ctx.log.info("x")
            raise RetryLater(0)

    async def fails_first(ctx: Context) -> None:
        if ctx.job.attempt == 1:
            ctx.emit("x")
        raise RetryLater(60)

    keys = Keys(settings.prefix)
    async with worker(long_kept=long_kept, fails_first=fails_first):
        kept = await client.wait((await client.enqueue("long_kept")).id, WAIT)
        waiting = await client.enqueue("fails_first")
        while (await client.get(waiting.id)).status != "scheduled":
            await asyncio.sleep(0.01)
        await client.cancel(waiting.id)
        record, output, lines = [
            await redis.ttl(key) for key in (keys.job(0, kept.id), keys.output(0, kept.id), keys.lines(0, kept.id))
        ]
        cancelled = await redis.ttl(keys.job(0, waiting.id)), await redis.ttl(keys.output(0, waiting.id))

    assert abs(record - output) <= 1
    assert abs(record - lines) <= 1
    assert abs(cancelled[0] - cancelled[1]) <= 1


async def test_a_chunk_that_is_too_large_is_refused_where_it_is_emitted(client, worker):
    async def huge(ctx: Context) -> None:
        ctx.emit("x" * 300_000)

    async with worker(huge=huge):
        job = await client.wait((await client.enqueue("huge", max_attempts=1)).id, WAIT)

    assert (job.error["type"], "at most 256 KiB" in job.error["message"]) == ("ValueError", True)


async def test_a_field_whose_name_no_log_can_show_harms_nobody(http, client, worker):
    async def odd(ctx: Context) -> None:
        ctx.log.info("said", **{"\ud800": 1})

    async with worker(odd=odd):
        job = await client.wait((await client.enqueue("odd")).id, WAIT)

    assert (job.status, (await client.log(job.id))[0]["fields"]) == ("completed", {"\\ud800": 1})


async def test_a_line_keeps_what_any_log_can_show(http, worker):
    async def odd(ctx: Context) -> None:
        try:
            raise ValueError("bad day")
        except ValueError:
            ctx.log.exception("failed", thing=object(), big=1 << 80, job="mine", text="\ud800", event_="x")
        ctx.log.info("long", text="y" * 100_000, **{f"f{n}": "z" * 500 for n in range(50)})

    async with worker(odd=odd):
        job_id = await post(http, "odd")
        await settled(http, job_id)
        reply = await http.get(f"/jobs/{job_id}/log")

    failed, long = reply.json()["lines"]
    assert (failed["level"], failed["event"]) == ("error", "failed")
    assert "ValueError: bad day" in failed["fields"]["exception"]
    assert "object object at" in failed["fields"]["thing"]
    assert failed["fields"]["big"] == str(1 << 80)
    assert (long["event"], long["fields"]) == ("long", {"cut": True})


async def test_what_could_not_be_sent_comes_with_the_end(http, client, worker, monkeypatch):
    tried = asyncio.Event()

    async def away(*_):
        tried.set()
        raise StoreUnavailable("away")

    async def emits(ctx: Context) -> None:
        ctx.emit("a")
        ctx.log.info("said")
        await tried.wait()
        ctx.emit("b")

    monkeypatch.setattr(AttemptStore, "emit", away)
    async with worker(emits=emits):
        job_id = await post(http, "emits")
        await settled(http, job_id)
        output = (await http.get(f"/jobs/{job_id}/output")).json()["output"]
        lines = (await http.get(f"/jobs/{job_id}/log")).json()["lines"]

    assert output == ["a", "b"]
    assert [line["event"] for line in lines] == ["said"]


async def test_an_answer_that_got_lost_doubles_nothing(http, client, worker, monkeypatch):
    emit, lost = AttemptStore.emit, asyncio.Event()

    async def answer_lost(self, batch):
        await emit(self, batch)
        lost.set()
        raise StoreUnavailable("no answer")

    async def emits(ctx: Context) -> None:
        ctx.emit("a")
        await lost.wait()

    monkeypatch.setattr(AttemptStore, "emit", answer_lost)
    async with worker(emits=emits):
        job_id = await post(http, "emits")
        await settled(http, job_id)
        output = (await http.get(f"/jobs/{job_id}/output")).json()["output"]

    assert output == ["a"]


async def test_a_stale_attempt_adds_nothing(client, worker, redis, settings):
    second, stale, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    contexts = []

    async def slow(ctx: Context) -> None:
        contexts.append(ctx)
        if ctx.job.attempt == 1:
            raise RetryLater(0)
        ctx.emit("of the second")
        second.set()
        await ended.wait()

    async with worker(slow=slow):
        job = await client.enqueue("slow")
        await asyncio.wait_for(second.wait(), WAIT)
        contexts[0].emit("of the first")
        contexts[0].log.info("late")
        stale.set()
        ended.set()
        await client.wait(job.id, WAIT)
        output = await client.output(job.id)

    assert output.chunks == ["of the second"]


async def test_what_is_kept_goes_when_the_job_goes(client, worker, redis, settings):
    @function(keep=1)
    async def brief(ctx: Context) -> None:
        ctx.emit("x")
        ctx.log.info("x")

    @function(retry=1)
    async def failing(ctx: Context) -> None:
        ctx.emit("x")
        raise ValueError("no")

    keys = Keys(settings.prefix)
    async with worker(brief=brief, failing=failing):
        short = await client.wait((await client.enqueue("brief")).id, WAIT)
        failed = await client.wait((await client.enqueue("failing")).id, WAIT)

        assert 0 < await redis.pttl(keys.output(0, short.id)) <= 1000
        assert 0 < await redis.pttl(keys.lines(0, short.id)) <= 1000
        assert await redis.ttl(keys.output(0, failed.id)) > 6 * 86_400
        await client.purge("failing", lambda _: True)

    assert not await redis.exists(keys.output(0, failed.id))


async def test_a_job_that_says_nothing_costs_no_key(client, worker, redis, settings):
    async def quiet() -> None: ...

    async with worker(quiet=quiet):
        job = await client.wait((await client.enqueue("quiet")).id, WAIT)

    keys = Keys(settings.prefix)
    assert not await redis.exists(keys.output(0, job.id), keys.lines(0, job.id))


async def test_lines_are_not_kept_where_the_settings_say_so(client, worker, settings):
    async with worker(settings.model_copy(update={"keep_log": False}), words=words):
        job = await client.wait((await client.enqueue("words")).id, WAIT)

    assert (await client.log(job.id), len((await client.output(job.id)).chunks)) == ([], 3)


async def test_a_chunk_that_json_cannot_show_is_refused_where_it_is_emitted(client, worker):
    async def wrong(ctx: Context) -> None:
        ctx.emit({"n": float("nan")})

    async with worker(wrong=wrong):
        job = await client.wait((await client.enqueue("wrong", max_attempts=1)).id, WAIT)

    assert job.error["type"] == "ValueError"


@pytest.mark.parametrize("path", ["output", "log"])
async def test_an_unknown_job_is_not_found(http, path):
    missing = "00000000-0000-7000-8000-000000000000"

    assert (await http.get(f"/jobs/{missing}/{path}")).status_code == 404
    assert (await http.get(f"/jobs/{missing}/{path}", headers=TEXT)).status_code == 404
    assert (await http.get(f"/jobs/nonsense/{path}")).status_code == 404
    assert (await http.get(f"/jobs/{missing}/{path}?odd=1")).status_code == 422


async def test_a_gateway_that_leaves_ends_raw_output(client, worker, settings):
    started = asyncio.Event()

    async def endless(ctx: Context) -> None:
        ctx.emit("x")
        started.set()
        await asyncio.sleep(600)

    async with worker(endless=endless), serving(settings) as http:
        job_id = await post(http, "endless")
        await asyncio.wait_for(started.wait(), WAIT)
        async with http.stream("GET", f"/jobs/{job_id}/output", headers=TEXT) as reply:
            chunks = reply.aiter_bytes()
            assert await anext(chunks) == b"x"
            await client.cancel(job_id)
            assert [chunk async for chunk in chunks] == []


def test_a_test_sees_what_is_emitted():
    assert call(words, {"count": 2}).output == ["word 1 ", "word 2 "]


def test_positions_read_back_what_they_wrote():
    from runtime.client.watching import Place
    from runtime.store.emitted import Mark
    from runtime.store.events import Position

    for place in (
        Place(Position(1, 2, 3)),
        Place(Position(1, 2, 3), Mark(1, 5)),
        Place(Position(1, 2, 3), log=Mark(2, 7)),
        Place(Position(1, 2, 3), Mark(1, 5), Mark(2, 7), over=True),
    ):
        assert Place.parse(json.loads(json.dumps(str(place)))) == place
    assert Place.parse("o1-2") is None
