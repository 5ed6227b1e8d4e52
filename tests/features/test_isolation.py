"""A `def` function runs in a process of its own, and cannot hurt its neighbours."""

import asyncio
import os
import time

import psutil
import pytest
import structlog

from runtime.handlers.loader import Sources
from runtime.values import codec, ids
from runtime.worker.processes.pool import Pool
from tests.conftest import Folder
from tests.processes import alive, command, status

WAIT = 15


@pytest.fixture
def run(client, worker, settings, folder):
    """`async with run(crash="def handle(): …") as call:` runs modules; `call` gives the settled job."""

    class Running:
        def __init__(self, given, modules):
            folder.write(**modules)
            self.worker = worker(settings.model_copy(update={"functions_dir": folder.path, **given}))

        async def __aenter__(self):
            await self.worker.__aenter__()
            return self.call

        async def call(self, name, payload=None, **more):
            return await client.wait((await client.enqueue(name, payload, max_attempts=1, **more)).id, WAIT)

        async def __aexit__(self, *error):
            await self.worker.__aexit__(*error)

    return lambda given=None, **modules: Running(given or {}, modules)


FORKSERVER = "runtime.worker.processes.forkserver"
NEXT = "def handle(): return 'fine'"


async def gone(pid):
    while alive(pid):
        await asyncio.sleep(0.01)


async def test_it_runs_in_another_process_which_is_kept_for_the_next_attempt(run):
    async with run(where="import os\ndef handle(): return os.getpid()") as call:
        pids = {(await call("where")).result for _ in range(3)}

    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_a_function_never_runs_in_a_process_that_ran_another(run):
    where = "import os\ndef handle(): return os.getpid()"
    async with run(a=where, b=where) as call:
        assert (await call("a")).result != (await call("b")).result


async def test_a_loop_in_c_is_killed_at_its_timeout(run):
    hang = """
        import hashlib
        from runtime import function

        @function(timeout=0.3)
        def handle():
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
    """
    async with run(hang=hang, other=NEXT) as call:
        begun = time.monotonic()
        job = await call("hang")
        assert (await call("other")).result == "fine"

    assert (job.status, job.error["type"]) == ("failed", "Timeout")
    assert time.monotonic() - begun < 5


async def test_what_ignores_sigterm_is_killed(run):
    deaf = """
        import signal, time
        from runtime import function

        @function(timeout=0.2)
        def handle():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(1)
    """
    async with run(deaf=deaf) as call:
        assert (await call("deaf")).error["type"] == "Timeout"


async def test_a_handler_may_clean_up_when_it_is_stopped(run, tmp_path):
    tidy = f"""
        import time
        from pathlib import Path
        from runtime import function

        @function(timeout=0.2)
        def handle():
            try:
                time.sleep(60)
            finally:
                Path({str(tmp_path / "tidied")!r}).write_text("yes")
    """
    async with run(tidy=tidy) as call:
        assert (await call("tidy")).error["type"] == "Timeout"

    assert (tmp_path / "tidied").read_text() == "yes"


async def test_cancelling_kills_it(run, client, folder, until):
    begun = folder.path / ".begun"
    slow = f"""
        import os, time
        from pathlib import Path

        def handle():
            Path({str(begun)!r}).write_text(str(os.getpid()))
            time.sleep(60)
    """
    async with run(slow=slow) as _call:
        job = await client.enqueue("slow")
        await asyncio.to_thread(until, lambda: begun.exists() and begun.read_text(), "start")
        await client.cancel(job.id)
        done = await client.wait(job.id, WAIT)
        await asyncio.wait_for(gone(int(begun.read_text())), WAIT)

    assert done.status == "cancelled"


async def test_a_handler_that_asks_whether_it_was_cancelled_may_leave_by_itself(run, client, folder, until):
    begun, ended = folder.path / ".begun", folder.path / ".ended"
    polite = f"""
        import time
        from pathlib import Path
        from runtime import Context

        def handle(ctx: Context):
            while not ctx.cancelled:
                Path({str(begun)!r}).touch()
                time.sleep(0.01)
            Path({str(ended)!r}).write_text("by itself")
    """
    async with run(polite=polite) as _call:
        job = await client.enqueue("polite")
        await asyncio.to_thread(until, begun.exists, "start")
        await client.cancel(job.id)
        assert (await client.wait(job.id, WAIT)).status == "cancelled"

    assert ended.read_text() == "by itself"


async def test_more_memory_than_its_ceiling_is_out_of_memory(run):
    hog = """
        from runtime import function

        @function(memory="256M")
        def handle(size: int):
            return len(bytearray(size))
    """
    async with run(hog=hog) as call:
        job = await call("hog", {"size": 2 << 30})
        small = await call("hog", {"size": 1000})

    assert (job.status, job.error["type"]) == ("failed", "OutOfMemory")
    assert job.error["message"] == "out of memory: the function may use 256M"
    assert small.result == 1000


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os._exit(3)", "exited with status 3"),
        ("import os; os._exit(0)", "exited with status 0"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.killpg(0, 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 35)", "killed by signal 35"),
        ("import sys; sys.exit(4)", "4"),
        ("raise KeyboardInterrupt", ""),
    ],
)
async def test_a_crash_fails_that_attempt_alone_and_tells_the_cause(run, body, told):
    async with run(crash=f"def handle():\n    {body}", other=NEXT) as call:
        job = await call("crash")
        assert (await call("other")).result == "fine"
        assert (await call("crash")).status == "failed"

    assert job.status == "failed"
    assert told in job.error["message"]


async def test_where_it_crashed_is_in_the_record(run):
    async with run(crash="import ctypes\ndef handle():\n    ctypes.string_at(0)") as call:
        job = await call("crash")

    assert "Segmentation fault" in job.error["traceback"]
    assert "crash.py" in job.error["traceback"]


async def test_a_process_that_a_handler_leaves_behind_is_killed(run, tmp_path):
    fork = f"""
        import os, time
        from pathlib import Path

        def handle():
            if os.fork() == 0:
                Path({str(tmp_path / "left")!r}).write_text(str(os.getpid()))
                time.sleep(600)
            while not Path({str(tmp_path / "left")!r}).exists():
                time.sleep(0.01)
            return "left"
    """
    async with run(fork=fork, other=NEXT) as call:
        job = await call("fork")
        await asyncio.wait_for(gone(int((tmp_path / "left").read_text())), WAIT)
        assert (await call("other")).result == "fine"

    assert job.result == "left"


async def test_a_fork_that_comes_back_from_the_handler_answers_for_nobody(run):
    async with run(fork="import os\ndef handle():\n    return os.fork() == 0") as call:
        jobs = [await call("fork") for _ in range(5)]

    assert [job.result for job in jobs] == [False] * 5


async def test_what_the_parent_of_a_fork_leaves_without_ending_is_a_crash(run, tmp_path):
    leave = f"""
        import os, time
        from pathlib import Path

        def handle():
            left = Path({str(tmp_path / "left")!r})
            if os.fork():
                while not (left.exists() and left.read_text()):
                    time.sleep(0.01)
                os._exit(0)
            left.write_text(str(os.getpid()))
            time.sleep(600)
    """
    async with run(leave=leave) as call:
        job = await call("leave")
        assert "exited with status 0" in job.error["message"]
        await asyncio.wait_for(gone(int((tmp_path / "left").read_text())), WAIT)


async def test_what_it_prints_reaches_the_log_with_the_job(run):
    says = """
        import os, subprocess, sys, logging
        from runtime import Context

        def handle(ctx: Context):
            print("printed")
            print("to stderr", file=sys.stderr)
            os.write(1, b"from C\\n")
            subprocess.run(["echo", "from a process"])
            logging.getLogger("lib").warning("by a library")
            ctx.log.info("by.ctx", n=1)
    """
    with structlog.testing.capture_logs() as logs:
        async with run(says=says) as call:
            job = await call("says")

    ours = [entry for entry in logs if entry.get("job") == job.id]
    assert [e["line"] for e in ours if e["event"] == "function.printed"] == [
        "printed",
        "to stderr",
        "from C",
        "from a process",
    ]
    assert ("by.ctx", 1) in [(e["event"], e.get("n")) for e in ours]
    assert "by a library" in [e.get("message") for e in ours]
    assert all((e["function"], e["attempt"]) == ("says", 1) for e in ours)


async def test_ten_megabytes_of_prints_hold_up_nobody_and_are_cut(run):
    loud = "def handle():\n    for n in range(100_000):\n        print('x' * 100)\n    return 'done'"
    with structlog.testing.capture_logs() as logs:
        async with run(loud=loud) as call:
            assert (await call("loud")).result == "done"

    lines = [entry for entry in logs if entry["event"] == "function.printed"]
    (cut,) = [entry for entry in logs if entry["event"] == "output.left_out"]
    assert len(lines) == 1000
    assert cut["lines"] == 99_000


async def test_a_line_without_an_end_is_logged_in_pieces(run):
    with structlog.testing.capture_logs() as logs:
        async with run(loud="import sys\ndef handle():\n    sys.stdout.write('y' * 9_000)") as call:
            await call("loud")

    assert "".join(e["line"] for e in logs if e["event"] == "function.printed").startswith("y" * 4000)


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        ("return object()", "ValueError", "object"),
        ("return b'x' * 50_000_000", "ResultTooLarge", "the limit is 1048576"),
        ("return {1: {2: lambda: 0}}", "ValueError", ""),
    ],
)
async def test_a_result_that_cannot_be_kept_fails_with_the_reason(run, body, kind, told):
    async with run(odd=f"def handle():\n    {body}") as call:
        job = await call("odd")

    assert (job.status, job.error["type"]) == ("failed", kind)
    assert told in job.error["message"]


async def test_errors_and_their_tracebacks_arrive_as_they_do_from_the_event_loop(run):
    odd = """
        from runtime import Permanent

        def handle(kind: str):
            if kind == "permanent":
                raise Permanent("never again")
            raise LookupError("nothing here")
    """
    async with run(odd=odd) as call:
        permanent, other = await call("odd", {"kind": "permanent"}), await call("odd", {"kind": "x"})

    assert (permanent.error["type"], permanent.error["traceback"]) == ("Permanent", None)
    assert other.error["message"] == "nothing here"
    assert "odd.py" in other.error["traceback"]
    assert "/runtime/worker/" not in other.error["traceback"]


async def test_a_users_folder_may_have_the_name_of_one_of_ours(client, worker, settings, tmp_path):
    folder = Folder(tmp_path / "runtime" / "worker")
    folder.write(odd="import json\ndef handle(): json.loads('{')")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        failed = await client.wait((await client.enqueue("odd", max_attempts=1)).id, WAIT)

    assert "runtime/worker/odd.py" in failed.error["traceback"]
    assert "calls.py" not in failed.error["traceback"]


@pytest.mark.parametrize(
    "body",
    ["import sys; sys.stdout.close()", "import sys; sys.stdout = None", "import os; os.closerange(0, 100)"],
)
async def test_what_a_handler_does_to_its_streams_hurts_no_neighbour(run, client, folder, until, body):
    """Nor does the process that it leaves when it can speak no more."""
    begun = folder.path / ".begun"
    slow = f"""
        import pathlib, time

        def handle():
            pathlib.Path({str(begun)!r}).touch()
            time.sleep(1.5)
            return "undisturbed"
    """
    async with run(slow=slow, odd=f"def handle():\n    {body}\n    return 1") as call:
        job = await client.enqueue("slow", max_attempts=1)
        await asyncio.to_thread(until, begun.exists, "start")
        for _ in range(3):
            assert (await call("odd")).settled
        assert (await client.wait(job.id, WAIT)).result == "undisturbed"


async def test_odd_text_and_odd_names_can_be_logged(run):
    odd = """
        import logging, structlog
        from runtime import Context

        def handle(ctx: Context):
            logging.getLogger("lib").warning("caf%s", b"\\xe9".decode("utf-8", "surrogateescape"))
            structlog.contextvars.bind_contextvars(self="me", job="mine", event_="x")
            ctx.log.info("said", text="\\udce9", big=10**30)
            return "fine"
    """
    with structlog.testing.capture_logs() as logs:
        async with run(odd=odd) as call:
            job = await call("odd")

    (said,) = [entry for entry in logs if entry["event"] == "said"]
    assert job.result == "fine"
    assert (said["job"], said["self_"], said["big"]) == (job.id, "me", str(10**30))


async def test_a_module_that_forks_as_it_is_imported_answers_once(run):
    async with run(fork="import os\nos.fork()\ndef handle(): return 'once'") as call:
        assert [(await call("fork")).result for _ in range(3)] == ["once"] * 3


async def test_a_child_that_cannot_be_stored_fails_its_parent_with_the_reason(run):
    async with run(f="from runtime import Context\ndef handle(ctx: Context): ctx.enqueue('f', object())") as call:
        job = await call("f")

    assert (job.status, job.error["type"]) == ("failed", "ValueError")


async def test_a_handler_may_use_and_end_processes_of_its_own(run):
    pool = """
        import multiprocessing, time
        from runtime import Context

        def handle(ctx: Context):
            assert not ctx.cancelled
            work = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            work.start()
            work.terminate()
            work.join()
            with multiprocessing.get_context("fork").Pool(2) as some:
                return some.map(abs, [-1, -2])
    """
    async with run(pool=pool) as call:
        assert (await call("pool")).result == [1, 2]


async def test_a_thread_that_outlives_its_attempt_says_nothing_of_the_next_one(run):
    late = """
        import threading, time
        from runtime import Context

        def handle(ctx: Context, first: bool):
            if first:
                threading.Timer(0.2, lambda: ctx.progress(99, None, "of the first")).start()
            else:
                time.sleep(0.5)
    """
    async with run({"processes": 1}, late=late) as call:
        await call("late", {"first": True})
        assert (await call("late", {"first": False})).progress is None


async def test_a_job_with_a_rate_that_finds_no_process_free_keeps_its_start(run, client):
    """Its start has been counted: handed back, it would wait for the next."""
    rare = "from runtime import function\n@function(rate='1/h')\ndef handle(): return 'ran'"
    quick = "import time\ndef handle(seconds: float): time.sleep(seconds)"
    async with run({"processes": 1}, rare=rare, quick=quick) as call:
        for _ in range(60):
            await call("quick", {"seconds": 0})
        blocking = await client.enqueue("quick", {"seconds": 1})
        job = await client.enqueue("rare")
        assert (await client.wait(job.id, WAIT)).result == "ran"
        assert (await client.wait(blocking.id, WAIT)).status == "completed"


async def test_progress_and_children_work_there(run, client):
    parent = """
        from datetime import datetime, timezone
        from runtime import Context

        def handle(ctx: Context):
            ctx.progress(1, 2, "half")
            first = ctx.enqueue("other", {}, delay="1ms")
            ctx.when_all_settled("other")
            return first
    """
    async with run(parent=parent, other="def handle(): return 'fine'") as call:
        job = await call("parent")
        children = [await client.wait(child, WAIT) for child in (await client.get(job.id)).children]

    assert (job.progress["done"], job.progress["note"]) == (1, "half")
    assert job.result in {child.id for child in children}
    assert {child.result for child in children} == {"fine"}


async def test_an_async_function_may_ask_for_a_process_and_a_def_for_a_thread(run):
    a = """
        import asyncio, os
        from runtime import function

        @function(isolation="process")
        async def handle():
            await asyncio.sleep(0.01)
            return os.getpid()
    """
    b = """
        import os, threading
        from runtime import function

        @function(isolation="thread")
        def handle():
            return [os.getpid(), threading.current_thread().name]
    """
    async with run(a=a, b=b) as call:
        first, second = await call("a"), await call("a")
        pid, thread = (await call("b")).result

    assert first.result == second.result != os.getpid()
    assert pid == os.getpid()
    assert thread.startswith("attempt")


async def test_an_async_function_in_a_process_is_stopped_at_its_timeout(run, tmp_path):
    slow = f"""
        import asyncio
        from pathlib import Path
        from runtime import function

        @function(isolation="process", timeout=0.2)
        async def handle():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                Path({str(tmp_path / "cancelled")!r}).touch()
                raise
    """
    async with run(slow=slow) as call:
        assert (await call("slow")).error["type"] == "Timeout"

    assert (tmp_path / "cancelled").exists()


@pytest.mark.parametrize("recycle", ["3", '"1M"'])
async def test_a_process_is_replaced_after_so_many_attempts_or_above_a_size(run, recycle):
    where = f"""
        import os
        from runtime import function

        @function(recycle={recycle})
        def handle():
            return os.getpid()
    """
    async with run(where=where) as call:
        pids = [(await call("where")).result for _ in range(6)]

    assert len(set(pids)) == (2 if recycle == "3" else 6)


async def test_the_next_process_is_started_before_it_is_needed(client, worker, settings, folder):
    folder.write(
        born="""
        import psutil
        from runtime import function

        @function(recycle=1)
        def handle():
            return psutil.Process().create_time()
        """
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})) as one:
        for _ in range(3):
            await asyncio.wait_for(asyncio.shield(one._parts.pool._spare), WAIT)
            asked_at = time.time()
            job = await client.wait((await client.enqueue("born")).id, WAIT)
            assert job.result < asked_at


async def test_functions_share_no_state_and_each_is_imported_once(run, tmp_path):
    once = f"""
        from pathlib import Path

        with Path({str(tmp_path / "imports")!r}).open("a") as file:
            file.write("x")

        def handle(): ...
    """
    async with run({"processes": 1}, once=once) as call:
        for _ in range(5):
            await call("once")

    assert (tmp_path / "imports").read_text() == "x"


async def test_jobs_run_side_by_side_in_as_many_processes_as_are_allowed(run, client):
    meet = """
        import os, time
        from pathlib import Path
        from runtime import Context

        def handle(ctx: Context):
            ctx.file(f"here-{os.getpid()}").touch()
            while len(list(ctx.file("x").parent.glob("here-*"))) < 3:
                time.sleep(0.01)
            return os.getpid()
    """
    async with run({"processes": 3}, meet=meet):
        ids = await client.enqueue_many("meet", [None] * 3)
        jobs = [await client.wait(one, WAIT) for one in ids]

    assert len({job.result for job in jobs}) == 3


async def test_when_the_process_that_starts_them_dies_attempts_are_handed_back_and_the_next_ones_run(
    run, client, until, folder
):
    begun = folder.path / ".begun"
    slow = f"""
        import pathlib, time
        def handle():
            begun = pathlib.Path({str(begun)!r})
            if begun.exists():
                return "again"
            begun.touch()
            time.sleep(60)
    """
    async with run(slow=slow, other=NEXT) as call:
        job = await client.enqueue("slow", max_attempts=1)
        await asyncio.to_thread(until, begun.exists, "start")
        (server,) = [p for p in psutil.Process().children() if FORKSERVER in command(p.pid)]
        server.kill()
        done = await client.wait(job.id, WAIT)
        assert (await call("other")).result == "fine"

    assert done.result == "again"
    assert [attempt["outcome"] for attempt in done.attempts] == ["lost", "completed"]
    assert "the one that starts them" in done.attempts[0]["error"]["message"]


async def test_the_process_that_forks_has_no_threads(run):
    async with run(other=NEXT) as call:
        await call("other")
        (forks,) = [p for p in psutil.Process().children() if FORKSERVER in command(p.pid)]
        assert forks.num_threads() == 1


@pytest.mark.one_shard
async def test_no_process_and_no_descriptor_is_left_when_a_worker_has_left(run):
    here = psutil.Process()
    async with run(other=NEXT) as call:  # the client's own connections stay
        await call("other")
    before, descriptors = set(here.children(recursive=True)), here.num_fds()
    async with run(other=NEXT) as call:
        await call("other")
        inside = set(here.children(recursive=True)) - before
        assert inside

    assert not [p for p in inside if alive(p.pid)]
    assert here.num_fds() <= descriptors + 2


async def test_when_a_worker_is_killed_nothing_of_its_functions_keeps_working(process, client, folder, until):
    """Neither what a handler runs in, nor what it has started."""
    folder.write(
        busy="""
            import os, subprocess, time
            from pathlib import Path
            from runtime import Context

            def handle(ctx: Context):
                sleeper = subprocess.Popen(["sleep", "600"])
                escaped = subprocess.Popen(["sleep", "600"], start_new_session=True)
                ctx.progress(0, None, f"{os.getpid()} {sleeper.pid} {escaped.pid}")
                while True:
                    pass
        """
    )
    worker = process("worker", FUNCTIONS_DIR=str(folder.path))
    worker.await_said("worker.started")
    job = await client.enqueue("busy")
    while not (seen := await client.get(job.id)).progress:
        await asyncio.sleep(0.01)
    pids = [int(pid) for pid in seen.progress["note"].split()]
    assert all(alive(pid) for pid in pids)

    worker.stop(9)

    for pid in pids:
        await asyncio.wait_for(gone(pid), WAIT)


async def test_a_thousand_kills_leave_no_zombie_and_no_descriptor(settings, folder):
    folder.write(hang="import time\ndef handle():\n    time.sleep(600)")
    pool = Pool(settings.model_copy(update={"processes": 4}))
    here = psutil.Process()
    others = set(here.children(recursive=True))
    spec = await pool.load(Sources(folder.path).scan()["hang"])

    async def kill_one():
        begun = asyncio.Event()
        job = [ids.new_id(), "hang", "normal", 1, 1, 0, 1]
        attempt = asyncio.create_task(pool.run(spec, job, codec.pack(None), Nothing(), begun.set))
        await begun.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt

    async def kill_some(count):
        for _ in range(count):
            await kill_one()

    await kill_some(8)
    descriptors, processes = here.num_fds(), len(here.children(recursive=True)) - len(others)
    await asyncio.gather(*(kill_some(250) for _ in range(4)))

    left = set(here.children(recursive=True)) - others
    assert not [p for p in left if status(p.pid) == psutil.STATUS_ZOMBIE]
    assert len(left) <= processes + 4
    assert here.num_fds() <= descriptors + 2 * 4
    await pool.close()
    assert not [p for p in left if p.is_running()]


class Nothing:
    """A sink for what nobody looks at."""

    def progress(self, told): ...

    def log(self, level, event, fields): ...
