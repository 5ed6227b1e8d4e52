"""Limits across the whole fleet: how many at once, how many in a time, how many may wait."""

import asyncio
import itertools
import statistics

import pytest

from runtime import function
from runtime.errors import FunctionInvalid, QueueFull
from runtime.values.clock import now_ms
from tests.conftest import deploy

WAIT = 20


class Gauge:
    """Counts how many are inside at once."""

    def __init__(self):
        self.now, self.most = {}, {}

    async def inside(self, key="", steps=3):
        self.now[key] = self.now.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self.now[key])
        for _ in range(steps):
            await asyncio.sleep(0.003)
        self.now[key] -= 1


async def test_no_more_than_n_run_at_once_in_the_whole_fleet(client, worker):
    gauge = Gauge()

    @function(concurrency=3)
    async def f() -> None:
        await gauge.inside()

    async with worker(f=f), worker(f=f), worker(f=f):
        ids = await client.enqueue_many("f", [None] * 60)
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {job.status for job in done} == {"completed"}
    assert gauge.most == {"": 3}


async def test_a_limited_function_does_not_hold_up_another(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(concurrency=1)
    async def slow() -> None:
        started.set()
        await let_go.wait()

    async def quick() -> None: ...

    async with worker(slow=slow, quick=quick):
        ids = await client.enqueue_many("slow", [None] * 500)
        await asyncio.wait_for(started.wait(), WAIT)
        quick_job = await client.enqueue("quick", priority="low")
        assert (await client.wait(quick_job.id, WAIT)).status == "completed"
        assert (await client.get(ids[1])).status == "pending"
        let_go.set()
        await client.wait(ids[-1], WAIT)


async def test_a_retrying_or_lost_attempt_gives_its_place_back(client, worker):
    @function(concurrency=1)
    async def f(n: int) -> int:
        if n < 0:
            raise ValueError("no")
        return n

    async with worker(f=f):
        broken = await client.enqueue("f", {"n": -1}, max_attempts=2, backoff=0)
        fine = await client.enqueue("f", {"n": 1})
        assert (await client.wait(broken.id, WAIT)).status == "failed"
        assert (await client.wait(fine.id, WAIT)).result == 1


async def test_all_names_of_a_function_share_its_limit(client, worker):
    gauge = Gauge()

    @function(concurrency=1, aliases=("g",))
    async def f() -> None:
        await gauge.inside()

    async with worker(f=f), worker(f=f):
        ids = [(await client.enqueue(name)).id for name in ("f", "g") * 10]
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {job.status for job in done} == {"completed"}
    assert gauge.most == {"": 1}


async def test_a_limit_by_key_counts_each_key_and_keeps_its_order(client, worker):
    gauge, order = Gauge(), {"a": [], "b": [], "c": []}

    @function(concurrency=1, concurrency_key="customer")
    async def f(customer: str, n: int) -> None:
        order[customer].append(n)
        await gauge.inside(customer)

    async with worker(f=f), worker(f=f):
        ids = await client.enqueue_many("f", [{"customer": c, "n": n} for c in "abc" for n in range(20)])
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {job.status for job in done} == {"completed"}
    assert gauge.most == {"a": 1, "b": 1, "c": 1}
    assert order == {key: list(range(20)) for key in "abc"}


async def test_one_busy_key_does_not_hold_up_another(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(concurrency=1, concurrency_key="customer")
    async def f(customer: str) -> str:
        if customer == "busy":
            started.set()
            await let_go.wait()
        return customer

    async with worker(f=f):
        busy = await client.enqueue_many("f", [{"customer": "busy"}] * 300)
        await asyncio.wait_for(started.wait(), WAIT)
        other = await client.enqueue("f", {"customer": "other"})
        assert (await client.wait(other.id, WAIT)).result == "other"
        assert [(d.waiting, d.running) for d in await client.depths()] == [(299, 1)]
        let_go.set()
        assert (await client.wait(busy[-1], WAIT)).status == "completed"


async def test_a_parked_job_can_be_cancelled(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(concurrency=1, concurrency_key="k")
    async def f(k: int) -> None:
        started.set()
        await let_go.wait()

    async with worker(f=f):
        first, second, third = await client.enqueue_many("f", [{"k": 1}] * 3)
        await asyncio.wait_for(started.wait(), WAIT)
        await client.cancel(second)
        let_go.set()
        done = [await client.wait(job_id, WAIT) for job_id in (first, second, third)]

    assert [job.status for job in done] == ["completed", "cancelled", "completed"]


async def test_a_rate_spreads_starts_evenly(client, worker):
    @function(rate="20/s")
    async def f() -> None: ...

    async with worker(f=f), worker(f=f):
        ids = await client.enqueue_many("f", [None] * 21)
        done = [await client.wait(job_id, WAIT) for job_id in ids]

    starts = sorted(job.started_at for job in done)
    assert 0.95 < (starts[-1] - starts[0]) / 1000 < 1.5  # 20 intervals of 50 ms, after a burst of two
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert 40 <= statistics.median(gaps) <= 100  # one may be longer, where the machine stood still


async def test_a_rate_does_not_hold_up_another_function(client, worker):
    @function(rate="1/h")
    async def slow() -> None: ...

    async def quick() -> None: ...

    async with worker(slow=slow, quick=quick):
        ids = await client.enqueue_many("slow", [None] * 3)
        assert (await client.wait(ids[0], WAIT)).status == "completed"
        asked = now_ms()
        done = await client.wait((await client.enqueue("quick")).id, WAIT)
        assert done.started_at - asked < 200
        assert (await client.get(ids[1])).status == "pending"


async def test_when_too_many_wait_more_are_refused_and_nothing_is_stored(client):
    @function(max_waiting=3)
    async def f() -> None: ...

    await deploy(client, f=f)
    ids = [(await client.enqueue("f")).id for _ in range(3)]

    with pytest.raises(QueueFull, match="3 jobs of f wait"):
        await client.enqueue("f", priority="high")

    assert [job.id for job in (await client.page()).jobs] == ids[::-1]


async def test_what_runs_does_not_count_as_waiting(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    @function(max_waiting=1)
    async def f() -> None:
        started.set()
        await let_go.wait()

    async with worker(f=f):
        first = await client.enqueue("f")
        await asyncio.wait_for(started.wait(), WAIT)
        second = await client.enqueue("f")
        let_go.set()
        assert (await client.wait(second.id, WAIT)).status == "completed"
        assert (await client.wait(first.id, WAIT)).status == "completed"


async def test_many_at_once_are_stored_up_to_the_bound_and_told(client):
    @function(max_waiting=5)
    async def f() -> None: ...

    await deploy(client, f=f)

    with pytest.raises(QueueFull) as full:
        await client.enqueue_many("f", [None] * 8)

    assert sorted(full.value.stored) == sorted(job.id for job in (await client.page()).jobs)
    assert len(full.value.stored) == 5


@pytest.mark.parametrize(
    "given", [{"concurrency": 0}, {"rate": "fast"}, {"rate": "0/s"}, {"max_waiting": -1}, {"concurrency_key": "x"}]
)
def test_a_wrong_limit_is_refused(given):
    with pytest.raises(FunctionInvalid):
        function(**given)


async def test_jobs_that_a_removed_limit_held_up_start_at_once(client, worker):
    started, let_go = asyncio.Event(), asyncio.Event()

    async def held(k: str) -> None:
        started.set()
        await let_go.wait()

    async def free(k: str) -> None: ...

    limited = function(concurrency=1, concurrency_key="k")(held)
    async with worker(f=limited):
        ids = await client.enqueue_many("f", [{"k": "x"}] * 100)
        await asyncio.wait_for(started.wait(), WAIT)
        await client.pause()
        let_go.set()
        await client.wait(ids[0], WAIT)
    async with worker(f=free):
        begun = now_ms()
        await client.resume()
        jobs = [await client.wait(job_id, WAIT) for job_id in ids]

    assert {job.status for job in jobs} == {"completed"}
    assert now_ms() - begun < 10_000  # one a sweep would be 50 s
