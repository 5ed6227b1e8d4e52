"""An attempt that was told to stop has no result, whatever its handler returns from then on."""

import asyncio

import pytest

from runtime import Context, Stopped, function

WAIT = 20

# each works in steps until it is told to stop, and then returns what it has
HALF = {
    "a process": """
        import time
        from runtime import Context, function
        @function(OPTIONS)
        def handle(ctx: Context) -> dict:
            done = 0
            while not ctx.cancelled:
                done += 1
                ctx.progress(done, 100)
                time.sleep(0.01)
            return {"done": done, "total": 100}
    """,
    "a thread": """
        import time
        from runtime import Context, function
        @function(isolation="thread", OPTIONS)
        def handle(ctx: Context) -> dict:
            done = 0
            while not ctx.cancelled:
                done += 1
                ctx.progress(done, 100)
                time.sleep(0.01)
            return {"done": done, "total": 100}
    """,
    "the event loop": """
        import asyncio
        from runtime import Context, function
        @function(OPTIONS)
        async def handle(ctx: Context) -> dict:
            done = 0
            try:
                while True:
                    done += 1
                    ctx.progress(done, 100)
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                return {"done": done, "total": 100}
    """,
}
CHECKED = """
    import time
    from runtime import Context
    def handle(ctx: Context) -> str:
        ctx.progress(1)
        while True:
            ctx.check()
            time.sleep(0.01)
"""


@pytest.fixture
def leaving(settings, folder):
    """A worker's settings that give what runs hardly any time to finish."""
    return settings.model_copy(update={"functions_dir": folder.path, "grace": 0.1})


async def reported(client, job_id):
    async with asyncio.timeout(WAIT):
        while (job := await client.get(job_id)).progress is None:
            await asyncio.sleep(0.01)
    return job


@pytest.mark.parametrize("where", HALF)
async def test_half_of_the_work_returned_to_a_leaving_worker_is_handed_back(client, worker, folder, leaving, where):
    folder.write(half=HALF[where].replace("OPTIONS", ""))
    async with worker(leaving):
        job = await client.enqueue("half", max_attempts=1)
        await reported(client, job.id)

    seen = await client.get(job.id)
    assert (seen.status, seen.result) == ("pending", None)
    assert [attempt["outcome"] for attempt in seen.attempts] == ["released"]


@pytest.mark.parametrize("where", HALF)
async def test_half_of_the_work_returned_at_the_timeout_has_timed_out(client, worker, folder, leaving, where):
    folder.write(half=HALF[where].replace("OPTIONS", "timeout=0.3"))
    async with worker(leaving):
        done = await client.wait((await client.enqueue("half", max_attempts=1)).id, WAIT)

    assert (done.status, done.result, done.error["type"]) == ("failed", None, "Timeout")


async def test_check_is_the_way_out_of_a_loop(client, worker, folder, leaving):
    folder.write(checked=CHECKED)
    async with worker(leaving):
        job = await client.enqueue("checked", max_attempts=2)
        await reported(client, job.id)
        await client.cancel(job.id)
        done = await client.wait(job.id, WAIT)

    assert (done.status, [attempt["outcome"] for attempt in done.attempts]) == ("cancelled", ["cancelled"])


async def test_check_passes_a_handlers_own_except_exception(client, worker, settings):
    begun, ended = asyncio.Event(), asyncio.Event()
    seen = []

    @function(isolation="thread")
    def careless(ctx: Context) -> str:
        loop.call_soon_threadsafe(begun.set)
        while True:
            try:
                ctx.check()
            except Exception as error:
                seen.append(error)
            except Stopped:
                seen.append("stopped")
                loop.call_soon_threadsafe(ended.set)
                raise

    loop = asyncio.get_running_loop()
    async with worker(settings.model_copy(update={"grace": 0.1}), careless=careless):
        job = await client.enqueue("careless", max_attempts=1)
        await asyncio.wait_for(begun.wait(), WAIT)

    await asyncio.wait_for(ended.wait(), WAIT)  # a worker that leaves does not wait for threads
    assert seen == ["stopped"]
    assert (await client.get(job.id)).status == "pending"


async def test_an_error_raised_on_the_way_out_costs_no_attempt(client, worker, settings):
    begun = asyncio.Event()

    async def untidy() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("its cleaning up failed")

    async with worker(settings.model_copy(update={"grace": 0.1}), untidy=untidy):
        job = await client.enqueue("untidy", max_attempts=1)
        await asyncio.wait_for(begun.wait(), WAIT)

    seen = await client.get(job.id)
    assert (seen.status, seen.attempts[0]["outcome"]) == ("pending", "released")
