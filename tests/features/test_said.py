"""What handlers print and log reaches the worker's log with their job, and nothing secret or forged does."""

import asyncio
import json
import logging
import textwrap

import pytest
import structlog

from runtime import log

WAIT = 20


@pytest.fixture
def start(process, tmp_path):
    place = tmp_path / "functions"
    place.mkdir()

    def start(modules, **env):
        for name, text in modules.items():
            (place / f"{name}.py").write_text(textwrap.dedent(text))
        return process("worker", "--functions-dir", str(place), **{"LOG_FORMAT": "json", **env})

    return start


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


async def test_what_a_process_logs_is_cut_at_1000_lines(client, start):
    loud = """
        from runtime import Context
        def handle(ctx: Context):
            for n in range(3000):
                ctx.log.info("again", n=n)
    """
    one = start({"loud": loud})
    await asyncio.to_thread(one.await_said, "worker.started")
    await client.wait((await client.enqueue("loud")).id, WAIT)
    one.stop()

    assert len([e for e in said(one) if e["event"] == "again"]) == 1000
    assert [e for e in said(one) if e["event"] == "output.cut"]


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


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_in_the_log_has_no_local_variables(settings, log_format, capfd):
    """As for each request that answers 500: the error is logged by its exc_info."""
    before = structlog.get_config()
    log.configure(settings.model_copy(update={"log_format": log_format}))
    try:
        fail("planted-secret")
    finally:
        structlog.configure(**before)

    logged = capfd.readouterr().err
    assert "a fault of its own" in logged
    assert "in fail" in logged or '"name": "fail"' in logged
    assert "planted" + "-secret" not in logged


def fail(authorization):
    payload = {"token": authorization}
    try:
        raise RuntimeError("a fault of its own")
    except RuntimeError as error:
        log.get("gateway").error("request.failed", method="POST", path="/jobs", exc_info=error)
    return payload


def test_a_logging_call_whose_arguments_do_not_fit_raises_nothing(settings, capfd):
    before = structlog.get_config()
    log.configure(settings.model_copy(update={"log_format": "json"}))
    try:
        logging.getLogger("lib").warning("%d items", "no number")
    finally:
        structlog.configure(**before)

    assert "%d items" in capfd.readouterr().err
