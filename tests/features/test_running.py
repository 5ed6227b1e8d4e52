"""What becomes of an attempt: results, retries, errors, timeouts, progress."""

import asyncio
import contextlib
import threading
import time

from runtime import Context, Permanent, Retry, RetryLater, function

WAIT = 15


async def test_an_async_function_runs_and_its_result_is_kept(client, worker):
    async def add(a: int, b: int) -> int:
        return a + b

    async with worker(add=add):
        job = await client.enqueue("add", {"a": 2, "b": 3})
        done = await client.wait(job.id, WAIT)

    assert (done.status, done.result, done.attempt) == ("completed", 5, 1)
    assert done.created_at <= done.started_at <= done.finished_at


async def test_a_def_function_may_block_without_holding_up_others(client, worker):
    entered, let_go = threading.Event(), threading.Event()

    def block() -> str:
        entered.set()
        let_go.wait(WAIT)
        return "unblocked"

    async def quick() -> str:
        return "quick"

    async with worker(block=block, quick=quick):
        slow = await client.enqueue("block")
        await asyncio.to_thread(entered.wait, WAIT)
        fast = await client.wait((await client.enqueue("quick")).id, WAIT)
        let_go.set()
        assert (fast.result, (await client.wait(slow.id, WAIT)).result) == ("quick", "unblocked")


async def test_an_error_is_retried_and_each_attempt_is_remembered(client, worker):
    @function(retry=Retry(max_attempts=3, base=0.01))
    async def shaky(ctx: Context) -> str:
        if ctx.job.attempt < 3:
            raise ConnectionError(f"attempt {ctx.job.attempt}")
        return "at last"

    async with worker(shaky=shaky):
        done = await client.wait((await client.enqueue("shaky")).id, WAIT)

    assert (done.status, done.result, done.error) == ("completed", "at last", None)
    assert [(a["outcome"], a["error"] and a["error"]["message"]) for a in done.attempts] == [
        ("retry", "attempt 1"),
        ("retry", "attempt 2"),
        ("completed", None),
    ]


async def test_a_job_out_of_attempts_has_failed_with_its_traceback(client, worker):
    @function(retry=Retry(max_attempts=2, base=0.01))
    async def broken() -> None:
        raise KeyError("missing")

    async with worker(broken=broken):
        done = await client.wait((await client.enqueue("broken")).id, WAIT)

    assert (done.status, done.attempt, done.error["type"]) == ("failed", 2, "KeyError")
    assert 'raise KeyError("missing")' in done.error["traceback"]
    assert "attempt.py" not in done.error["traceback"]


async def test_a_job_may_choose_its_own_number_of_attempts(client, worker):
    async def broken() -> None:
        raise ValueError("no")

    async with worker(broken=broken):
        done = await client.wait((await client.enqueue("broken", max_attempts=1)).id, WAIT)

    assert (done.status, done.attempt, done.max_attempts) == ("failed", 1, 1)


async def test_permanent_fails_at_once(client, worker):
    async def never() -> None:
        raise Permanent("no such customer")

    async with worker(never=never):
        done = await client.wait((await client.enqueue("never")).id, WAIT)

    assert (done.status, done.attempt, done.error["message"]) == ("failed", 1, "no such customer")


async def test_retry_later_chooses_the_delay(client, worker):
    @function(retry=Retry(max_attempts=2, base=3600))
    async def later(ctx: Context) -> int:
        if ctx.job.attempt == 1:
            raise RetryLater(0.05)
        return ctx.job.attempt

    async with worker(later=later):
        done = await client.wait((await client.enqueue("later")).id, WAIT)

    assert done.result == 2


async def test_an_async_attempt_is_cancelled_at_its_timeout(client, worker):
    cancelled = asyncio.Event()

    @function(timeout=0.1, retry=1)
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with worker(endless=endless):
        done = await client.wait((await client.enqueue("endless")).id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "Timeout")
    assert "did not end within 0.1 s" in done.error["message"]
    assert cancelled.is_set()


async def test_a_handler_that_swallows_its_timeout_has_timed_out_all_the_same(client, worker):
    @function(timeout=0.1, retry=1)
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "as if nothing had happened"

    async with worker(stubborn=stubborn):
        done = await client.wait((await client.enqueue("stubborn")).id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "Timeout")


async def test_a_def_attempt_is_given_up_at_its_timeout_and_can_see_it(client, worker):
    saw = threading.Event()

    @function(timeout=0.1, retry=1)
    def slow(ctx: Context) -> None:
        deadline = time.monotonic() + WAIT
        while not ctx.cancelled and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        saw.set()

    async with worker(slow=slow):
        done = await client.wait((await client.enqueue("slow")).id, WAIT)
        assert await asyncio.to_thread(saw.wait, WAIT)

    assert done.error["type"] == "Timeout"


async def test_a_handlers_own_timeout_error_is_an_error_like_any_other(client, worker):
    @function(retry=1)
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async with worker(impatient=impatient):
        done = await client.wait((await client.enqueue("impatient")).id, WAIT)

    assert done.error["type"] == "TimeoutError"


async def test_progress_is_shown_while_the_job_runs(client, worker):
    reported, let_go = asyncio.Event(), asyncio.Event()

    async def steps(ctx: Context) -> None:
        ctx.progress(1, 3, "one")
        ctx.progress(2, 3, "two")
        reported.set()
        await let_go.wait()

    async with worker(steps=steps):
        job = await client.enqueue("steps")
        await asyncio.wait_for(reported.wait(), WAIT)
        async with asyncio.timeout(WAIT):
            while (seen := await client.get(job.id)).progress is None:
                await asyncio.sleep(0)
        let_go.set()
        await client.wait(job.id, WAIT)

    assert seen.status == "running"
    assert seen.progress == {"done": 2, "total": 3, "note": "two"}


async def test_progress_may_be_told_from_a_def_function(client, worker):
    def steps(ctx: Context) -> None:
        ctx.progress(1, 1)

    async with worker(steps=steps):
        done = await client.wait((await client.enqueue("steps")).id, WAIT)

    assert done.status == "completed"


async def test_a_result_that_cannot_be_packed_fails_with_that_reason(client, worker):
    @function(retry=1)
    async def strange() -> object:
        return object()

    async with worker(strange=strange):
        done = await client.wait((await client.enqueue("strange")).id, WAIT)

    assert done.status == "failed"
    assert "object" in done.error["message"]


async def test_a_result_over_the_limit_fails_with_that_reason(client, worker, settings):
    async def large() -> bytes:
        return b"x" * (settings.result_limit + 1)

    async with worker(large=large):
        done = await client.wait((await client.enqueue("large")).id, WAIT)

    assert (done.status, done.attempt, done.error["type"]) == ("failed", 1, "ResultTooLarge")


async def test_a_handler_that_calls_exit_fails_its_attempt_alone(client, worker):
    @function(retry=1)
    async def leave() -> None:
        raise SystemExit(3)

    async def stay() -> str:
        return "here"

    async with worker(leave=leave, stay=stay):
        left = await client.wait((await client.enqueue("leave")).id, WAIT)
        stayed = await client.wait((await client.enqueue("stay")).id, WAIT)

    assert (left.error["type"], stayed.result) == ("SystemExit", "here")


async def test_no_more_attempts_run_than_there_are_slots(client, worker, settings):
    running, most, all_in = 0, 0, asyncio.Event()

    async def busy() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            all_in.set()
        await asyncio.wait_for(all_in.wait(), WAIT)
        await asyncio.sleep(0)
        running -= 1

    async with worker(settings.model_copy(update={"concurrency": 4}), busy=busy):
        ids = await client.enqueue_many("busy", [None] * 50)
        for job_id in ids:
            assert (await client.wait(job_id, WAIT)).status == "completed"

    assert most == 4


async def test_a_job_for_a_function_that_no_worker_has_waits_harmlessly(client, worker):
    async def known() -> int:
        return 1

    async def unknown() -> int:
        return 2

    async with worker(known=known, unknown=unknown):
        pass
    async with worker(known=known):
        waits = await client.enqueue("unknown")
        assert (await client.wait((await client.enqueue("known")).id, WAIT)).result == 1
        assert (await client.get(waits.id)).status == "pending"
