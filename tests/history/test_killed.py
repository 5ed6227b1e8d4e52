"""Workers and archivers are killed at random: nothing is missing in history, and nothing is there twice."""

import asyncio
import os
import random
from collections import Counter
from dataclasses import replace

from sqlalchemy import select

from runtime.history.queries import Queries
from runtime.history.tables import attempts, jobs
from tests.history.conftest import until_archiving

JOBS = int(os.environ.get("LANEWORK_TEST_JOBS", "20000"))
MODULE = """
    from runtime import Permanent
    async def handle(n: int) -> dict:
        if n % 1000 == 0:
            raise Permanent(f"no {n}")
        return {"n": n, "text": "x" * (n % 50)}
"""


async def test_each_job_is_there_once(client, store, engine, start, process, history_url):
    given = {"HISTORY_URL": history_url, "LEASE": "2"}
    fleet = [lambda: start({"mixed": MODULE}, **given), lambda: process("history", "run", **given)] * 2
    running = [begin() for begin in fleet]
    await until_archiving(store)
    async with asyncio.timeout(20):
        while "mixed" not in await client.functions():
            await asyncio.sleep(0.05)
    ids = []
    enqueuing = asyncio.create_task(enqueue(client, ids))

    async with asyncio.timeout(300):
        while not enqueuing.done() or await is_unfinished(client, store):
            victim = random.randrange(len(fleet))
            running[victim].popen.kill()
            running[victim].popen.wait()
            running[victim] = fleet[victim]()
            await asyncio.sleep(random.uniform(0.3, 1.5))
    await enqueuing

    await compare(store, engine, ids)


async def enqueue(client, ids):
    for start in range(0, JOBS, 5000):
        ids += await client.enqueue_many("mixed", [{"n": n} for n in range(start, start + 5000)])


async def is_unfinished(client, store):
    depths = await client.depths()
    return any(d.waiting + d.running for d in depths) or (await client.history_lag()).entries


async def compare(store, engine, ids):
    """Row for row: what was enqueued, and what Redis still has of it."""
    queries = Queries(engine)
    async with engine.connect() as connection:
        found = (await connection.execute(select(jobs.c.id, jobs.c.status))).all()
        tried = Counter((await connection.scalars(select(attempts.c.job_id))).all())
    assert Counter(row.id for row in found) == Counter(ids)
    assert Counter(row.status for row in found) == {"failed": JOBS // 1000, "completed": JOBS - JOBS // 1000}
    for start in range(0, JOBS, 5000):
        part = ids[start : start + 5000]
        archived = await queries.get_many(part)
        for n, job_id in enumerate(part, start):
            live = await store.jobs.get(job_id)
            assert archived[job_id] == replace(live, archived=True)
            assert live.payload == {"n": n}
            assert live.result == (None if n % 1000 == 0 else {"n": n, "text": "x" * (n % 50)})
            assert tried[job_id] == len(live.attempts)
