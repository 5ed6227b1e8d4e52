"""What handlers print and log reaches the worker's log with their job, and nothing secret or forged does."""

import asyncio
import json
import logging

import pytest
import structlog

from runtime import log

WAIT = 20


def said(process):
    return [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]


SAYS = """
    import asyncio, logging, sys, structlog
    from runtime import Context, function
    @function(HOW)
    ASYNC def handle(ctx: Context, name: str):
        print("printed by", name)
        print("half a line by", name, end="")
        logging.getLogger("lib").info("information by %s", name)
        structlog.get_logger().info("said by " + name)
        ctx.log.info("ctx by " + name)
"""


@pytest.mark.parametrize("how", ["async ", 'isolation="thread"', ""])
async def test_prints_and_logging_name_their_job(client, start, how):
    is_async = how == "async "
    one = start(
        {"says": SAYS.replace("HOW", "" if is_async else how).replace("ASYNC ", "async " if is_async else "")}
    )
    await asyncio.to_thread(one.await_said, "worker.started")
    jobs = [await client.enqueue("says", {"name": name}) for name in ("ada", "grace")]
    for job in jobs:
        await client.wait(job.id, WAIT)
    one.stop()

    for job, name in zip(jobs, ("ada", "grace"), strict=True):
        ours = [e for e in said(one) if e.get("job") == job.id]
        told = {e.get("line") or e.get("message") or e["event"] for e in ours}
        assert {f"{what} by {name}" for what in ("printed", "half a line", "information", "said", "ctx")} <= told
        assert not [e for e in ours if "job_" in e or "function_" in e or "attempt_" in e]
        assert {(e["function"], e["attempt"]) for e in ours} == {("says", 1)}


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_what_a_handler_logs_is_cut_at_1000_lines(client, start, how):
    loud = f"""
        import logging
        from runtime import Context
        {how} handle(ctx: Context):
            for n in range(1500):
                ctx.log.info("again", n=n)
                print("again")
                logging.getLogger("lib").info("again")
            ctx.log.error("payment refused")
    """
    one = start({"loud": loud})
    await asyncio.to_thread(one.await_said, "worker.started")
    await client.wait((await client.enqueue("loud")).id, WAIT)
    one.stop()

    told = [e for e in said(one) if "again" in (e["event"], e.get("line"), e.get("message"))]
    assert len(told) == 1000
    events = [e["event"] for e in said(one)]
    assert events.count("output.cut") == events.count("payment refused") == 1
    (left_out,) = [e for e in said(one) if e["event"] == "output.left_out"]
    assert left_out["lines"] == 3500


async def test_an_event_on_a_terminal_is_one_line(client, start):
    forger = """
        from runtime import Context
        async def handle(ctx: Context):
            ctx.log.info("fine\\n12:00:00 [info     ] worker.left", more="a\\n12:00:00 [info     ] worker.left")
            print("x\\x1b[2J")
    """
    one = start({"forger": forger}, LOG_FORMAT="console")
    await asyncio.to_thread(one.await_said, "worker.started")
    await client.wait((await client.enqueue("forger")).id, WAIT)
    one.stop(9)

    log = one.log.read_text()
    assert not [line for line in log.splitlines() if line.startswith("12:00:00 [info     ] worker.left")]
    assert "\x1b[2J" not in log


def test_a_logging_call_whose_arguments_do_not_fit_raises_nothing(settings, capfd):
    before = structlog.get_config()
    log.configure(settings.model_copy(update={"log_format": "json"}))
    try:
        logging.getLogger("lib").warning("%d items", "no number")
    finally:
        structlog.configure(**before)

    assert "%d items" in capfd.readouterr().err


async def test_an_event_cannot_take_another_jobs_name_and_long_text_is_cut(client, start):
    forger = """
        from runtime import Context
        async def handle(ctx: Context):
            ctx.log.info("forged", job="another", attempt=7, text="x" * 100_000)
    """
    one = start({"forger": forger})
    await asyncio.to_thread(one.await_said, "worker.started")
    job = await client.enqueue("forger")
    await client.wait(job.id, WAIT)
    one.stop()

    (event,) = [e for e in said(one) if e["event"] == "forged"]
    assert (event["job"], event["attempt"], event["function"]) == (job.id, 1, "forger")
    assert (event["job_"], event["attempt_"]) == ("another", 7)
    assert len(event["text"]) == 4000
