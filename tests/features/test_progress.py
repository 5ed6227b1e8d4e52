"""Progress: the last report before an attempt's end is kept, and each is checked where it is given."""

import asyncio

import pytest

from runtime import Context, RetryLater
from runtime.store.attempt_store import AttemptStore
from runtime.testing import call

WAIT = 20


async def test_what_is_reported_just_before_the_end_is_in_the_record(client, worker):
    async def tenfold(ctx: Context) -> None:
        for n in range(1, 11):
            ctx.progress(n, 10, f"step {n}")

    async with worker(tenfold=tenfold):
        done = await client.wait((await client.enqueue("tenfold")).id, WAIT)

    assert done.progress == {"done": 10, "total": 10, "note": "step 10"}


async def test_the_same_from_a_process(client, worker, settings, folder):
    folder.write(tenfold="from runtime import Context\ndef handle(ctx: Context):\n    ctx.progress(10, 10)")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        done = await client.wait((await client.enqueue("tenfold")).id, WAIT)

    assert done.progress == {"done": 10, "total": 10, "note": None}


async def test_a_report_that_could_not_be_sent_comes_with_the_end(client, worker, monkeypatch):
    from runtime.errors import StoreUnavailable

    tried = asyncio.Event()

    async def away(*_):
        tried.set()
        raise StoreUnavailable("away")

    async def tenfold(ctx: Context) -> None:
        ctx.progress(1, 2)
        await tried.wait()

    monkeypatch.setattr(AttemptStore, "progress", away)
    async with worker(tenfold=tenfold):
        done = await client.wait((await client.enqueue("tenfold")).id, WAIT)

    assert done.progress == {"done": 1, "total": 2, "note": None}


async def test_a_new_attempt_starts_without_the_last_ones_progress(client, worker):
    second, let_go = asyncio.Event(), asyncio.Event()

    async def twice(ctx: Context) -> None:
        if ctx.job.attempt == 1:
            ctx.progress(5, 10)
            raise RetryLater(0)
        second.set()
        await let_go.wait()

    async with worker(twice=twice):
        job = await client.enqueue("twice")
        await asyncio.wait_for(second.wait(), WAIT)
        seen = await client.get(job.id)
        let_go.set()
        done = await client.wait(job.id, WAIT)

    assert (seen.status, seen.progress) == ("running", None)
    assert done.progress is None


@pytest.mark.parametrize(
    "wrong", ["1, 2, {('eu', 'de'): 3}", "1, 2, ['a']", "'1'", "float('nan')", "1, float('inf')", "1 << 64", "None"]
)
def test_what_is_no_number_or_no_text_is_refused_where_it_is_given(wrong):
    def careless(ctx: Context) -> None:
        eval(f"ctx.progress({wrong})", {"ctx": ctx})

    outcome = call(careless)

    assert (outcome.error["type"], outcome.progress) == ("ValueError", [])
    assert "progress: " in outcome.error["message"]


@pytest.mark.parametrize("letter", ["x", "ü", "\N{GRINNING FACE}", "\ud800"])
def test_a_long_note_is_cut_to_4_kib(letter):
    def talkative(ctx: Context) -> None:
        ctx.progress(1, 2, letter * 100_000)

    (report,) = call(talkative).progress

    assert 4000 < len(report["note"].encode()) <= 4096
    assert report["note"].endswith("…")


def test_a_note_that_fits_stays_as_it_is():
    def told(ctx: Context) -> None:
        ctx.progress(1.5, 2, "half — of it")

    assert call(told).progress == [{"done": 1.5, "total": 2, "note": "half — of it"}]
