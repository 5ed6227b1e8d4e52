"""The client for code without an event loop: the same methods, from any thread and in forked processes."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading

import pytest

from runtime.client import Lanework, LaneworkSync
from runtime.errors import FunctionUnknown, JobInvalid, JobNotFound, StoreUnavailable
from tests.conftest import deploy


async def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.fixture
def run(settings):
    """Runs code on a thread, as code without an event loop is, with a client of its own."""

    async def run(code):
        def with_client():
            with LaneworkSync(settings) as lanework:
                return code(lanework)

        return await asyncio.to_thread(with_client)

    return run


PUBLIC = [
    (name, method)
    for name, method in inspect.getmembers(Lanework, inspect.isfunction)
    if not name.startswith("_") and name != "release"
]


@pytest.mark.parametrize(("name", "method"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_it_has_every_method_of_the_other_with_the_same_parameters(name, method):
    own = inspect.signature(getattr(LaneworkSync, name))
    other = inspect.signature(method)

    assert [(p.name, p.kind, p.annotation) for p in own.parameters.values()] == [
        (p.name, p.kind, p.annotation) for p in other.parameters.values()
    ]


async def test_it_enqueues_waits_and_looks(run, worker):
    async with worker(add=add):

        def code(lanework):
            job = lanework.enqueue("add", {"a": 5, "b": 3}, tags="order:o1")
            done = lanework.wait(job, timeout=10)
            many = lanework.enqueue_many("add", ({"a": n} for n in range(1500)))
            return (
                done.result,
                lanework.get(job.id).status,
                len(set(many)),
                lanework.page(tag="order:o1").jobs[0].id,
            )

        result, status, count, _ = await run(code)

    assert (result, status, count) == (8, "completed", 1500)


async def test_it_follows_a_job(run, client, worker):
    async with worker(add=add):
        kinds = await run(lambda lanework: [e.kind for e in lanework.watch(lanework.enqueue("add", {"a": 1}).id)])

    assert kinds[-1] == "settled"


async def test_errors_are_those_of_the_other(run):
    with pytest.raises(FunctionUnknown):
        await run(lambda lanework: lanework.enqueue("nothing"))
    with pytest.raises(JobNotFound):
        await run(lambda lanework: lanework.get("none"))


async def test_without_redis_it_says_so(settings):
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})

    def enter():
        with LaneworkSync(away):
            pass

    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(enter)


async def test_threads_share_one(run, client):
    await deploy(client, add=add)

    def code(lanework):
        def some():
            for n in range(20):
                lanework.enqueue("add", {"a": n})

        threads = [threading.Thread(target=some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    await run(code)

    assert sum(depth.waiting for depth in await client.depths()) == 160


async def test_a_forked_process_connects_by_itself(run, client):
    """As servers do that load an application and then fork."""
    await deploy(client, add=add)

    def code(lanework):
        lanework.enqueue("add", {"a": 1})
        pid = os.fork()
        if pid == 0:
            try:
                lanework.enqueue("add", {"a": 2})
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(pid, 0)[1]

    status = await run(code)

    assert status == 0
    assert len((await client.page()).jobs) == 2


async def test_closing_leaves_no_thread_behind(run):
    await run(lambda lanework: lanework.ping())

    async with asyncio.timeout(5):
        while any(thread.name == "lanework" for thread in threading.enumerate()):
            await asyncio.sleep(0)


async def test_a_forked_process_that_ends_leaves_the_parent_its_connection(settings, tmp_path):
    """One that ends as processes do, with everything finalised; also where it has not used the client."""
    code = f"""
import os, sys
from runtime import settings
from runtime.client import LaneworkSync
lanework = LaneworkSync(settings.load({{}}, redis_url={settings.redis_url!r}, prefix={settings.prefix!r}))
lanework.ping()
for used in (False, True):
    if os.fork() == 0:
        if used:
            lanework.ping()
        sys.exit(0)
    assert os.wait()[1] == 0
    lanework.ping()
lanework.close()
print("fine")
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, timeout=30)

    assert done.stdout == b"fine\n", done.stderr.decode()


async def test_closing_ends_calls_under_way(settings, client):
    await deploy(client, add=add)
    job = await client.enqueue("add", {"a": 1})
    lanework = LaneworkSync(settings)

    def waits():
        lanework.ping()
        waiting.set()
        with pytest.raises(StoreUnavailable, match="closed"):
            lanework.wait(job.id, 600)

    waiting = threading.Event()
    ended = asyncio.create_task(asyncio.to_thread(waits))
    await asyncio.to_thread(waiting.wait, 10)
    async with asyncio.timeout(10):
        while not asyncio.all_tasks(lanework._thread._running.loop):
            await asyncio.sleep(0)
    await asyncio.to_thread(lanework.close)

    await asyncio.wait_for(ended, 10)


async def test_payloads_may_come_from_what_calls_the_client_itself(run, client):
    await deploy(client, add=add)

    def code(lanework):
        def payloads():
            for n in range(3):
                lanework.ping()
                yield {"a": n}

        with pytest.raises(JobInvalid, match="as many"):
            lanework.enqueue_many("add", payloads(), keys=(key for key in "abcd"))
        return lanework.enqueue_many("add", payloads(), keys=(key for key in "abc"))

    assert len(set(await run(code))) == 3


async def test_a_call_from_within_a_call_is_refused_rather_than_never_answered(run, client):
    await deploy(client, add=add)
    await client.enqueue("add", {"a": 1})

    def code(lanework):
        with pytest.raises(RuntimeError, match="its own calls"):
            lanework.page(visible=lambda _type: lanework.ping() is None)

    await run(code)


async def test_a_client_and_a_watch_that_nobody_closes_keep_no_process_and_no_thread(settings, client):
    await deploy(client, add=add)
    job = await client.enqueue("add", {"a": 1})
    code = f"""
import gc, threading, time
from runtime import settings
from runtime.client import LaneworkSync
loaded = settings.load({{}}, redis_url={settings.redis_url!r}, prefix={settings.prefix!r})
for _ in range(5):
    LaneworkSync(loaded).ping()
gc.collect()
deadline = time.monotonic() + 10
while threading.active_count() > 1:
    assert time.monotonic() < deadline
    time.sleep(0.01)
lanework = LaneworkSync(loaded)
events = lanework.watch({job.id!r})
next(events)
print("fine", flush=True)
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, timeout=30)

    assert (done.stdout, done.returncode) == (b"fine\n", 0), done.stderr.decode()
