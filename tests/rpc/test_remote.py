"""`runtime.remote`: functions in a process of one's own, whose jobs a gateway hands out."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from runtime import Context, Permanent, RetryLater, function
from runtime.errors import AccessDenied, AccessForbidden, FunctionInvalid, SettingsInvalid
from runtime.remote import Worker
from runtime.store.access import issue
from tests.rpc.conftest import grpc_serving
from tests.servers import DEADLINE, free_port

WAIT = 20


@pytest.fixture
def remote():
    """`async with remote(url, name=handler, …):` runs a worker on a thread of this process until the block ends."""

    class Running:
        def __init__(self, url, options, handlers):
            self.worker = Worker(url, name="far", **options)
            for name, handler in handlers.items():
                self.worker.register(name, handler)
            self.thread = None

        async def __aenter__(self):
            self.thread = asyncio.ensure_future(asyncio.to_thread(self.worker.run))
            return self

        async def __aexit__(self, *_):
            self.worker.stop()
            async with asyncio.timeout(WAIT):
                await self.thread

    def make(url, *, options=None, **handlers):
        return Running(url, options or {}, handlers)

    return make


async def until_known(client, *names):
    async with asyncio.timeout(WAIT):
        while not {*names} <= (await client.functions()).keys():
            pass


async def call(client, type, payload=None):
    """The settled job."""
    await until_known(client, type)
    return await client.wait(await client.enqueue(type, payload), WAIT)


# handlers


async def test_a_handler_is_a_function_like_any_other(served, client, remote, logged):
    @function(timeout="20s", retry=7, lane="high")
    async def shout(ctx: Context, text: str, times: int = 1) -> str:
        """Shout a text.

        Args:
            text: what to shout
        """
        ctx.log.info("shouting", words=2)
        ctx.progress(1, 2, "half")
        ctx.emit({"part": 1})
        ctx.emit(b"\x00")
        return text.upper() * times

    async with remote(served.url, shout=shout):
        job = await call(client, "shout", {"text": "a", "times": 2})

    deployed = (await client.functions())["shout"]
    assert (job.result, job.progress) == ("AA", {"done": 1, "total": 2, "note": "half"})
    assert (await client.output(job.id)).chunks == [{"part": 1}, b"\x00"]
    assert [(line["event"], line["fields"]["words"]) for line in await client.log(job.id)] == [("shouting", 2)]
    assert deployed.schema["properties"]["text"]["description"] == "what to shout"
    assert (deployed.returns["type"], deployed.timeout, deployed.max_attempts) == ("string", 20, 7)
    assert (deployed.lane, deployed.isolation) == ("high", "remote")


async def test_a_def_handler_runs_in_a_thread(served, client, remote):
    def add(a: int, b: int) -> int:
        return a + b

    async with remote(served.url, add=add):
        assert (await call(client, "add", {"a": 5, "b": 3})).result == 8


@pytest.mark.parametrize("value", [None, [1, {"a": 2}], b"\x00\xff", "text", 2**60, 1.5])
async def test_values_come_and_go_as_they_are(served, client, remote, value):
    async def same(payload):
        return payload

    async with remote(served.url, same=same):
        assert (await call(client, "same", value)).result == value


@pytest.mark.parametrize(
    ("error", "told", "attempts"),
    [
        (ValueError("no"), {"type": "ValueError", "message": "no"}, 2),
        (Permanent("never"), {"type": "Permanent", "message": "never"}, 1),
        (RetryLater(0, "soon"), {"type": "RetryLater", "message": "soon"}, 2),
        (SystemExit(3), {"type": "SystemExit", "message": "3"}, 2),
        (KeyError("\udcff"), {"type": "KeyError", "message": "'\\udcff'"}, 2),
    ],
)
async def test_errors_are_told_as_those_of_any_function(served, client, remote, error, told, attempts):
    from runtime import Retry

    @function(retry=Retry(max_attempts=2, base=0))
    async def fail() -> None:
        raise error

    async with remote(served.url, fail=fail):
        job = await call(client, "fail")

    assert (job.status, job.attempt) == ("failed", attempts)
    assert {name: job.error[name] for name in told} == told
    if told["type"] == "ValueError":
        assert "in fail" in job.error["traceback"]
        assert "runtime" not in job.error["traceback"]


async def test_a_result_that_json_cannot_show_fails_the_job(served, client, remote):
    @function(retry=1)
    async def odd() -> object:
        return {"nan": float("nan")}

    async with remote(served.url, odd=odd):
        job = await call(client, "odd")

    assert (job.status, job.error["type"]) == ("failed", "ValueError")


async def test_a_result_beyond_the_limit_fails_its_job_and_no_other(served, client, remote):
    @function(retry=1)
    async def large(size: int) -> str:
        return "\x01" * size

    async def slow(ctx: Context) -> str:
        ctx.progress(0)
        await asyncio.Event().wait()
        return ""

    async with remote(served.url, large=large, slow=slow):
        await until_known(client, "slow", "large")
        other = await client.enqueue("slow")
        too_large = [await call(client, "large", {"size": size}) for size in (34 << 20, 2 << 20, 900_000)]
        still = await client.get(other.id)
        await client.cancel(other.id)

    assert [job.error["type"] for job in too_large] == ["ResultTooLarge"] * 3
    assert (still.status, still.attempt) == ("running", 1)


@pytest.mark.parametrize("seconds", [float("inf"), 1e30, float("nan"), -1])
async def test_an_odd_time_to_try_again_leaves_the_slot_free(served, client, remote, seconds):
    @function(retry=2)
    async def later() -> None:
        raise RetryLater(seconds)

    async with remote(served.url, options={"slots": 1}, later=later, echo=echo):
        await until_known(client, "later")
        await client.enqueue("later")

        assert (await call(client, "echo", 1)).result == 1


async def test_a_worker_takes_payloads_that_are_large_as_json(served, client, remote):
    async def size(payload) -> int:
        return len(payload["x"])

    async with remote(served.url, size=size):
        assert (await call(client, "size", {"x": "\x01" * 1_000_000})).result == 1_000_000


async def test_what_is_cancelled_or_takes_too_long_is_stopped(served, client, remote):
    stopped = []

    @function(timeout=0.3, retry=1)
    async def long() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append("long")
            raise

    @function(retry=1)
    def busy(ctx: Context) -> None:
        ctx.progress(0)
        while not ctx.cancelled:
            time.sleep(0.01)
        stopped.append("busy")

    async with remote(served.url, long=long, busy=busy):
        timed_out = await call(client, "long")
        job = await client.enqueue("busy")
        async for event in client.watch(job.id):
            if event.progress is not None and event.status == "running":
                await client.cancel(job.id)
        cancelled = await client.get(job.id)

    assert (timed_out.status, timed_out.error["type"], cancelled.status) == ("failed", "Timeout", "cancelled")
    assert stopped == ["long", "busy"]


async def test_a_handler_that_holds_up_the_loop_does_not_cost_the_worker_its_life(settings, client, remote):
    async with grpc_serving(settings.model_copy(update={"lease": 0.5, "grace": 2.0})) as served:

        async def hold() -> str:
            time.sleep(1.5)
            return "held"

        async with remote(served.url, hold=hold):
            job = await call(client, "hold")

    assert (job.result, job.attempt) == ("held", 1)


async def test_a_schedule_runs_at_the_worker(served, client, remote):
    @function(schedule={"* * * * * *": {"n": 1}})
    async def tick(n: int) -> int:
        return n

    async with remote(served.url, tick=tick):
        async with asyncio.timeout(WAIT):
            while not (page := await client.page(type="tick", status="completed")).jobs:
                pass

    assert page.jobs[0].result == 1


# connections


async def test_it_comes_back_when_the_gateway_does(settings, client, remote):
    port = free_port()

    async def echo(payload):
        return payload

    async with remote(f"http://127.0.0.1:{port}", echo=echo):
        for n in range(2):
            async with grpc_serving(settings.model_copy(update={"grpc_port": port, "grace": 1.0})):
                assert (await call(client, "echo", n)).result == n
                assert len(await client.workers()) == 1


async def test_what_runs_when_it_stops_may_finish(served, client, remote):
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(ctx: Context) -> str:
        ctx.progress(0)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(WAIT)
        return "done"

    async with remote(served.url, slow=slow) as running:
        await until_known(client, "slow")
        job = await client.enqueue("slow")
        async for event in client.watch(job.id):
            if event.progress is not None:
                running.worker.stop()
                release.set()

    assert (await client.get(job.id)).result == "done"


async def test_what_a_handler_returns_because_it_was_told_to_stop_is_no_result(settings, client, remote):
    async with grpc_serving(settings.model_copy(update={"grace": 0.1})) as served:

        def half(ctx: Context) -> str:
            ctx.progress(0)
            while not ctx.cancelled:
                time.sleep(0.01)
            return "half of it"

        async with remote(served.url, half=half) as running:
            await until_known(client, "half")
            job = await client.enqueue("half")
            async for event in client.watch(job.id):
                if event.progress is not None:
                    break
            running.worker.stop()

    back = await client.get(job.id)
    assert (back.status, back.result, back.attempts[0]["outcome"]) == ("pending", None, "released")


async def test_a_key_that_does_not_fit_ends_it(settings, client):
    made, token = issue("enqueues", ["enqueue"])
    assert await client.access.add(made)
    async with grpc_serving(settings.model_copy(update={"require_keys": True})) as served:
        for key, error in (("", AccessDenied), (str(token), AccessForbidden)):
            worker = Worker(served.url, key=key).register("echo", echo)
            with pytest.raises(error):
                await asyncio.to_thread(worker.run)


async def echo(payload):
    return payload


async def test_what_the_gateway_refuses_ends_it_with_the_reason(served):
    worker = Worker(served.url).register("job_callback", echo)

    with pytest.raises(FunctionInvalid, match="is not one of Lanework's own"):
        await asyncio.to_thread(worker.run)


@pytest.mark.parametrize(
    "url", ["", "localhost:50051", "http://localhost", "redis://localhost:1", "http://x:99999", "http://x:1/path"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(SettingsInvalid, match="gRPC port, such as"):
        Worker(url)


@pytest.mark.parametrize(
    "options",
    [{"slots": 0}, {"slots": "3"}, {"slots": 2.5}, {"slots": 10**6}, {"key": "a b"}, {"ca": Path("none.pem")}],
)
def test_odd_arguments_are_refused(options):
    with pytest.raises(SettingsInvalid):
        Worker("http://localhost:1", **options)


def test_a_worker_that_was_stopped_does_not_run():
    worker = Worker("http://localhost:1").register("echo", echo)
    worker.stop()

    worker.run()


def test_functions_that_need_a_process_of_laneworks_are_refused():
    @function(memory="64M")
    def large() -> None: ...

    with pytest.raises(FunctionInvalid, match="hook, memory and recycle"):
        Worker("http://localhost:1").register("large", large)


def test_a_name_is_served_once():
    worker = Worker("http://localhost:1").register("echo", echo)

    with pytest.raises(FunctionInvalid, match="already"):
        worker.register("other", echo, aliases=("echo",))


def test_a_worker_without_functions_does_not_run():
    with pytest.raises(FunctionInvalid, match="register a function first"):
        Worker("http://localhost:1").run()


# lost


WORKER = """
    import os, random, time
    from runtime import Context
    from runtime.remote import Worker

    def count(ctx: Context, n: int) -> int:
        time.sleep(random.random() / 50)
        return n

    Worker(os.environ["GATEWAY"], name="far", slots=5).register("count", count, retry=1).run()
"""


async def test_nothing_is_lost_or_done_twice_while_workers_and_gateways_are_killed(client, process, far):
    ports = [free_port() for _ in range(2)]
    gateways = [gateway(process, port) for port in ports]
    workers = [far(port) for port in ports for _ in range(2)]
    await until_known(client, "count")
    ids = await client.enqueue_many("count", [{"n": n} for n in range(600)])
    chance = random.Random(7)
    killed = 0

    async with asyncio.timeout(90):
        while (done := await count_of_completed(client)) < len(ids):
            if killed >= 12 or done < 40 * killed:
                continue
            killed += 1
            if killed % 4 == 0:
                at = chance.randrange(2)
                gateways[at].popen.kill()
                gateways[at].popen.wait()
                gateways[at] = gateway(process, ports[at])
            else:
                at = chance.randrange(4)
                workers[at].kill()
                workers[at].wait()
                workers[at] = far(ports[at // 2])

    for one in workers:
        one.send_signal(signal.SIGTERM)
    assert [one.wait(DEADLINE) for one in workers] == [0] * 4
    jobs = [await client.get(job_id) for job_id in ids]
    assert killed >= 8
    assert [job.result for job in jobs] == list(range(600))
    assert sum(attempt["outcome"] == "completed" for job in jobs for attempt in job.attempts) == 600


async def count_of_completed(client):
    stats = await client.stats()
    counts = await client.depths()
    waiting = sum(depth.waiting + depth.running for depth in counts)
    assert stats.functions
    return 600 - waiting


def gateway(process, port):
    return process(
        "gateway",
        "--port",
        "0",
        "--grpc-port",
        str(port),
        LEASE="1",
        CRASH_LIMIT="50",
        GRACE="2",
        LOG_FORMAT="json",
    )


@pytest.fixture
def far(tmp_path):
    """`far(port)` starts a remote worker as a process of its own."""
    script = tmp_path / "far.py"
    script.write_text(textwrap.dedent(WORKER))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LANEWORK_")}
    started = []

    def start(port):
        env = {**clean, "GATEWAY": f"http://127.0.0.1:{port}"}
        log = (tmp_path / f"far-{len(started)}.log").open("wb")
        started.append(subprocess.Popen([sys.executable, str(script)], env=env, stdout=log, stderr=log))
        log.close()
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
