"""A worker that has left is gone, and what a function does to its loop or process costs no other."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from runtime.jobs.failure import ForkserverLost
from runtime.store.registry import Registry
from runtime.values.clock import now_ms
from runtime.worker.deployer import Deployer
from runtime.worker.upkeep.heartbeat import Heartbeat
from runtime.worker.worker import Worker
from tests.conftest import catalogue
from tests.processes import alive

WAIT = 20


IDLE = "async def handle(): return 'fine'"
IN_WORKER = "'runtime.worker.worker' in sys.modules"


async def until_known(client, name):
    """A worker that starts says so before all that loads in time has loaded, where the machine is slow."""
    async with asyncio.timeout(WAIT):
        while name not in await client.functions():
            await asyncio.sleep(0.02)


IN_EXECUTOR = """
import asyncio, time
async def handle():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
"""


@pytest.mark.parametrize(
    "left",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nasync def handle(): ...",
        IN_EXECUTOR,
        "import threading, time\nasync def handle():\n    threading.Thread(target=time.sleep, args=(600,)).start()",
    ],
    ids=["a thread of the import", "a call in the loop's executor", "a thread of a handler"],
)
async def test_a_worker_that_has_left_is_gone_whatever_threads_live(client, start, left):
    one = start({"f": left})
    await asyncio.to_thread(one.await_said, "worker.started")
    await client.wait((await client.enqueue("f")).id, WAIT)
    asked = now_ms()

    assert await asyncio.to_thread(one.stop) == 0

    assert now_ms() - asked < 6000
    assert one.said('"event": "worker.left"')


async def test_an_import_that_hangs_in_the_worker_alone_keeps_neither_the_others_nor_its_end(client, start):
    one = start({"f": IDLE, "hangs": f"import sys, time\nif {IN_WORKER}: time.sleep(600)\nasync def handle(): ..."})
    await asyncio.to_thread(one.await_said, "worker.starting")
    await until_known(client, "f")

    done = await client.wait((await client.enqueue("f")).id, WAIT)
    asked = now_ms()

    assert done.result == "fine"
    assert await asyncio.to_thread(one.stop) == 0
    assert now_ms() - asked < 6000


async def test_keyboard_interrupt_at_import_ends_nobody(client, start):
    one = start(
        {"f": IDLE, "rude": f"import sys\nif {IN_WORKER}: raise KeyboardInterrupt\nasync def handle(): ..."}
    )
    await asyncio.to_thread(one.await_said, "worker.started")

    assert (await client.wait((await client.enqueue("f")).id, WAIT)).result == "fine"
    assert one.said("KeyboardInterrupt")
    assert await asyncio.to_thread(one.stop) == 0


async def test_a_slow_import_delays_no_other_function(client, start):
    one = start({"f": IDLE, "slow": "import time\ntime.sleep(4)\ndef handle(): return 'late'"})
    await asyncio.to_thread(one.await_said, "worker.starting")
    await until_known(client, "f")

    assert (await client.wait((await client.enqueue("f")).id, WAIT)).result == "fine"
    assert not one.said('"event": "worker.started"')
    await asyncio.to_thread(one.await_said, "worker.started")
    assert (await client.wait((await client.enqueue("slow")).id, WAIT)).result == "late"


@pytest.mark.one_shard
async def test_a_worker_has_started_once_it_serves_all_that_was_there(
    client, worker, folder, settings, monkeypatch
):
    folder.write(slow="import time; time.sleep(1.3)\ndef handle(): ...", f="async def handle(): ...")
    loaded = asyncio.Event()
    load, publish = Deployer._load, Heartbeat.publish

    async def load_and_tell(self, source, module, **more):
        await load(self, source, module, **more)
        if source.name == "slow":
            loaded.set()

    async def publish_slowly(self, catalogue):
        await publish(self, catalogue)
        await loaded.wait()  # as if Redis took that long

    monkeypatch.setattr(Deployer, "_load", load_and_tell)
    monkeypatch.setattr(Heartbeat, "publish", publish_slowly)
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        known = await client.functions()

    assert set(known) == {"slow", "f", "job_callback"}


async def test_a_slow_import_is_waited_for_where_files_are_not_followed(client, start):
    one = start({"f": IDLE, "slow": "import time\ntime.sleep(3)\ndef handle(): return 'late'"}, WATCH="false")
    await asyncio.to_thread(one.await_said, "worker.started")

    assert (await client.wait((await client.enqueue("slow")).id, WAIT)).result == "late"


@pytest.mark.parametrize("how", ["sys.exit('bad config')", "exec('raise KeyboardInterrupt(\"bad config\")')"])
async def test_exiting_in_a_task_costs_its_own_job_alone(client, worker, how):
    running, let_go = asyncio.Event(), asyncio.Event()

    async def neighbour() -> str:
        running.set()
        await let_go.wait()
        return "fine"

    async def culprit() -> None:
        async def configure() -> None:

            await asyncio.sleep(0)
            eval(how, {"sys": sys})

        await asyncio.gather(configure(), asyncio.sleep(60))

    async with worker(neighbour=neighbour, culprit=culprit):
        innocent = await client.enqueue("neighbour", max_attempts=1)
        await asyncio.wait_for(running.wait(), WAIT)
        guilty = await client.wait((await client.enqueue("culprit", max_attempts=1)).id, WAIT)
        let_go.set()
        done = await client.wait(innocent.id, WAIT)

    assert (done.status, done.result, done.attempt) == ("completed", "fine", 1)
    assert (guilty.status, guilty.error["message"]) == ("failed", "bad config")
    assert guilty.error["type"] in ("SystemExit", "KeyboardInterrupt")


async def test_a_loop_that_ends_abnormally_hands_back_what_runs_at_no_cost(client, settings):
    running = asyncio.Event()

    async def innocent() -> None:
        running.set()
        await asyncio.Event().wait()

    one = Worker(settings, catalogue(innocent=innocent))
    work = asyncio.create_task(one.run())
    await asyncio.wait_for(one.started.wait(), WAIT)
    job = await client.enqueue("innocent", max_attempts=1)
    await asyncio.wait_for(running.wait(), WAIT)

    # as asyncio.run does with every task of a loop that ended
    work.cancel()
    for task in asyncio.all_tasks():
        if "Slots._run" in repr(task):
            task.cancel()
    await asyncio.wait([work], timeout=WAIT)

    seen = await client.get(job.id)
    assert (seen.status, [attempt["outcome"] for attempt in seen.attempts]) == ("pending", ["released"])


async def test_exiting_in_a_callback_ends_the_worker_and_nobody_elses_job(client, start):
    one = start(
        {
            "waits": """
                import asyncio
                from runtime import Context
                async def handle(ctx: Context):
                    ctx.progress(1)
                    await asyncio.sleep(600)
            """,
            "culprit": """
                import asyncio, sys
                async def handle():
                    asyncio.get_running_loop().call_soon(sys.exit, "bad config")
                    await asyncio.sleep(600)
            """,
        }
    )
    await asyncio.to_thread(one.await_said, "worker.started")
    innocent = await client.enqueue("waits", max_attempts=1)
    async with asyncio.timeout(WAIT):
        while (await client.get(innocent.id)).progress is None:
            await asyncio.sleep(0.02)
    await client.enqueue("culprit", max_attempts=1)

    await asyncio.to_thread(one.popen.wait, WAIT)

    seen = await client.get(innocent.id)
    assert (seen.status, [attempt["outcome"] for attempt in seen.attempts]) == ("pending", ["released"])


@pytest.mark.parametrize("where", ["async def handle():", "@function(isolation='thread')\ndef handle():"])
async def test_a_copy_that_a_handler_makes_of_the_worker_ends(client, start, where):
    one = start({"forks": f"import os\nfrom runtime import function\n{where}\n    return os.fork()", "f": IDLE})
    await asyncio.to_thread(one.await_said, "worker.started")

    done = await client.wait((await client.enqueue("forks", max_attempts=1)).id, WAIT)
    copy = done.result

    assert done.status == "completed"
    assert copy > 0
    await ended(copy)
    assert (await client.wait((await client.enqueue("f")).id, WAIT)).result == "fine"
    assert (await client.get(done.id)).attempt == 1


IN_TASK = """
import asyncio, os
async def copy():
    pid = os.fork()
    await asyncio.sleep(0)
    return pid
async def handle():
    return (await asyncio.gather(copy(), asyncio.sleep(0.1)))[0]
"""
IN_CALLBACK = """
import asyncio, os
async def handle():
    copied = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: copied.set_result(os.fork()))
    return await copied
"""
IN_CONTEXT = """
import asyncio, os
async def handle():
    async with asyncio.timeout(5):
        pid = os.fork()
        await asyncio.sleep(0.05)
    return pid
"""
RAISES = """
import asyncio, os
from runtime import Permanent
async def handle():
    pid = os.fork()
    if not pid:
        raise ValueError("in the copy")
    return pid
"""
IN_THREAD = """
import asyncio, os
async def handle():
    return await asyncio.to_thread(os.fork)
"""


@pytest.mark.parametrize(
    "forks",
    [IN_TASK, IN_THREAD, IN_CALLBACK, IN_CONTEXT, RAISES],
    ids=["task", "to_thread", "callback", "then waits", "raises"],
)
async def test_a_copy_ends_wherever_a_handler_makes_it(client, start, forks):
    one = start({"forks": forks})
    await asyncio.to_thread(one.await_said, "worker.started")

    done = await client.wait((await client.enqueue("forks", max_attempts=1)).id, WAIT)

    assert (done.status, done.attempt) == ("completed", 1)
    await ended(done.result)


async def ended(pid):
    async with asyncio.timeout(WAIT):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_a_handler_that_kills_its_parent_again_and_again_is_poison(client, start):
    one = start(
        {"parricide": "import os\ndef handle():\n    os.kill(os.getppid(), 9)\n    import time; time.sleep(60)"}
    )
    await asyncio.to_thread(one.await_said, "worker.started")

    done = await client.wait((await client.enqueue("parricide", max_attempts=10)).id, WAIT)

    assert (done.status, done.error["type"]) == ("failed", "Poison")
    assert [attempt["outcome"] for attempt in done.attempts] == ["lost", "lost", "failed"]


async def test_a_fork_server_that_dies_before_an_attempt_began_costs_it_nothing(client, worker, folder, settings):
    folder.write(f="def handle(): return 'fine'")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})) as one:
        pool = one._parts.pool
        bound, died = pool._bound, []

        async def dies_once(spec):
            if not died:
                died.append(spec)
                raise ForkserverLost
            return await bound(spec)

        pool._bound = dies_once
        done = await client.wait((await client.enqueue("f", max_attempts=1)).id, WAIT)

    assert (done.status, done.result) == ("completed", "fine")
    assert [attempt["outcome"] for attempt in done.attempts] == ["released", "completed"]


async def test_a_task_that_is_cancelled_before_it_begins_leaves_no_warning(client, worker):
    async def hasty() -> str:
        async def never() -> None: ...

        task = asyncio.create_task(never())
        task.cancel()
        await asyncio.wait([task])
        return "fine"

    async with worker(hasty=hasty):
        done = await client.wait((await client.enqueue("hasty")).id, WAIT)

    assert done.result == "fine"


async def test_a_module_that_is_deleted_while_it_loads_keeps_no_worker_from_having_started(
    client, worker, settings, folder
):
    folder.write(f=IDLE, slow="import time\ntime.sleep(8)\ndef handle(): ...")
    one = Worker(settings.model_copy(update={"functions_dir": folder.path}))
    work = asyncio.create_task(one.run())
    async with asyncio.timeout(WAIT):
        while "f" not in await client.functions():
            await asyncio.sleep(0.02)
    folder.remove("slow")

    await asyncio.wait_for(one.started.wait(), 5)

    one.stop()
    await asyncio.wait_for(work, WAIT)


BLOCKS = """
import asyncio, time
from runtime import Retry, function
@function(timeout=1, retry=Retry(max_attempts=1))
async def handle(how: str):
    if how == "itself":
        while True: time.sleep(0.1)
    async def task():
        while True: time.sleep(0.1)
    await asyncio.create_task(task())
"""
WAITS = """
import asyncio
from runtime import function
@function(retry=1)
async def handle(): await asyncio.sleep(4); return "fine"
"""


LATER = """
import asyncio
async def handle(): await asyncio.sleep(0.3); return "fine"
"""
IN_PROCESS = "import time\ndef handle(): time.sleep(4); return 'fine'"


@pytest.mark.parametrize("how", ["itself", "in a task"])
async def test_a_handler_that_blocks_the_loop_beyond_its_timeout_ends_the_worker_and_costs_nobody_else(
    client, start, how
):
    one = start({"blocks": BLOCKS, "waits": WAITS, "later": LATER, "process": IN_PROCESS})
    await asyncio.to_thread(one.await_said, "worker.started")
    neighbours = [await client.enqueue("waits"), await client.enqueue("process", max_attempts=1)]
    async with asyncio.timeout(WAIT):
        while [(await client.get(job.id)).status for job in neighbours] != ["running"] * 2:
            await asyncio.sleep(0.02)
    culprit = await client.enqueue("blocks", {"how": how})
    async with asyncio.timeout(WAIT):
        while (await client.get(culprit.id)).status != "running":
            await asyncio.sleep(0.02)
    # what comes now is taken by a call that was sent ahead, and never heard of
    neighbours += [await client.enqueue("later", max_attempts=1) for _ in range(3)]

    assert await asyncio.to_thread(one.popen.wait, WAIT) == 1
    start({})
    failed, *fine = [await client.wait(job.id, WAIT) for job in (culprit, *neighbours)]

    assert (failed.status, failed.error["type"]) == ("failed", "Timeout")
    assert "let nothing else run" in failed.error["message"]
    assert one.said('"event": "worker.stalled"')
    assert one.said("time.sleep(0.1)")
    for job in fine:
        assert (job.status, job.result) == ("completed", "fine")
        assert {attempt["outcome"] for attempt in job.attempts} <= {"released", "completed"}


BUSY = """
import asyncio, time
from runtime import function
@function(timeout=2)
async def handle():
    try:
        await asyncio.sleep(100)
    finally:
        end = time.monotonic() + 9
        while time.monotonic() < end:
            time.sleep(0.09)
            await asyncio.sleep(0.01)
"""


async def test_a_loop_that_turns_is_left_alone_however_long_leases_are(client, start):
    one = start({"busy": BUSY}, LEASE="60")
    await asyncio.to_thread(one.await_said, "worker.started")

    done = await client.wait((await client.enqueue("busy", max_attempts=1)).id, WAIT)

    assert done.error["message"] == "did not end within 2 s"
    assert one.popen.poll() is None


IMPATIENT = """
from runtime.cli.main import main
from runtime.worker.upkeep import stall
stall.UNEXPLAINED = 4.0
main()
"""


async def test_a_worker_that_was_suspended_goes_on(client, settings, folder, tmp_path, until):
    folder.write(f=IDLE)
    log = tmp_path / "worker.log"
    command = [sys.executable, "-c", IMPATIENT, "worker", "--functions-dir", str(folder.path), "--port", "0"]
    env = os.environ | {
        "LANEWORK_REDIS_URL": settings.redis_url,
        "LANEWORK_PREFIX": settings.prefix,
        "LANEWORK_SHARDS": str(settings.shards),
    }
    with log.open("wb") as file:
        worker = subprocess.Popen(command, env=env, stdout=file, stderr=file)
    try:
        await asyncio.to_thread(until, lambda: "worker.started" in log.read_text(), "start", log.read_text)

        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(6)  # longer than its loop may stand still
        worker.send_signal(signal.SIGCONT)

        assert (await client.wait((await client.enqueue("f")).id, WAIT)).result == "fine"
        assert "worker.stalled" not in log.read_text()
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, WAIT)


async def test_a_report_that_is_on_its_way_when_the_worker_leaves_does_not_bring_it_back(
    client, worker, monkeypatch
):
    report, on_its_way, may_arrive, arriving = Registry.beat, asyncio.Event(), asyncio.Event(), []

    async def slow(self, info):
        async def arrive():
            await may_arrive.wait()
            return await report(self, info)

        arriving.append(asyncio.create_task(arrive()))
        on_its_way.set()
        return await asyncio.shield(arriving[-1])

    async with worker(echo=lambda: "fine") as one:
        monkeypatch.setattr(Registry, "beat", slow)
        beat = asyncio.create_task(one._parts.heartbeat.beat())
        await on_its_way.wait()
        beat.cancel()
        asyncio.get_running_loop().call_later(0.1, may_arrive.set)
    await asyncio.wait([beat, *arriving])

    assert await client.workers() == []
