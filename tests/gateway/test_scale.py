"""How much work a function has, for autoscalers."""

import asyncio

import pytest

from runtime import function
from tests.conftest import deploy


async def test_what_waits_and_runs_counts_with_all_names(http, client, worker):
    release = asyncio.Event()

    @function(aliases=("plus",))
    async def add(a: int) -> int:
        await release.wait()
        return a

    async with worker(add=add):
        for n, name in enumerate(("add", "plus", "add")):
            await http.post("/jobs", json={"type": name, "payload": {"a": n}})
        await http.post("/jobs", json={"type": "add", "payload": {"a": 9}, "delay": "1h"})
        async with asyncio.timeout(20):
            while (shown := (await http.get("/scale/plus?target=2")).json())["running"] < 3:
                await asyncio.sleep(0.05)
        release.set()

    assert shown == {"function": "add", "waiting": 0, "running": 3, "backlog": 3, "desired_workers": 2}


async def test_nothing_to_do_needs_no_worker(http, deployed):
    assert (await http.get("/scale/add?target=10")).json()["desired_workers"] == 0
    assert "desired_workers" not in (await http.get("/scale/add")).json()


@pytest.mark.parametrize("target", ["0", "-1", "x", "1.5", ""])
async def test_a_target_that_is_no_number_is_refused(http, client, target):
    async def add() -> None: ...

    await deploy(client, add=add)

    assert (await http.get("/scale/add", params={"target": target})).status_code == 422
