"""The client for code without an event loop: the same methods, from any thread and in forked processes."""

import asyncio
import inspect
import os
import threading

import pytest

from runtime.client import Lanework, LaneworkSync
from runtime.errors import FunctionUnknown, JobNotFound, StoreUnavailable
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
