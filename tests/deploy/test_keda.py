"""Scaling as KEDA does it, by the trigger that is shipped: https://keda.sh/docs/latest/scalers/metrics-api/"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from runtime.store.access import issue
from tests.conftest import serving, until_keys_are_asked_for

FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "keda" / "thumbnails.yaml"


@pytest.fixture(scope="module")
def scaled():
    return next(o["spec"] for o in yaml.safe_load_all(FILE.read_text()) if o["kind"] == "ScaledObject")


class Scaler:
    """What KEDA makes of the value: whether there is any worker, and how many."""

    def __init__(self, http, scaled, headers):
        (trigger,) = scaled["triggers"]
        self._http = http
        self._headers = headers
        self._most = scaled["maxReplicaCount"]
        self._options = trigger["metadata"]

    async def replicas(self):
        path = urlsplit(self._options["url"]).path
        reply = (await self._http.get(path, headers=self._headers)).raise_for_status().json()
        value = reply[self._options["valueLocation"]]
        is_active = value > float(self._options.get("activationTargetValue", 0))
        return min(self._most, math.ceil(value / float(self._options["targetValue"]))) if is_active else 0


@pytest.fixture
async def scaler(settings, client, scaled):
    """With the access key that the manifests ask for."""
    made, token = issue("keda", ["metrics"])
    assert await client.access.add(made)
    async with serving(settings) as http:
        await until_keys_are_asked_for(http)
        yield Scaler(http, scaled, {"Authorization": f"Bearer {token}"})


async def test_from_none_to_many_and_back(scaler, client, worker):
    started, ends = asyncio.Event(), asyncio.Event()

    async def thumbnail() -> None:
        started.set()
        await ends.wait()

    async with worker(thumbnail=thumbnail):
        assert await scaler.replicas() == 0
    first = await client.enqueue("thumbnail")
    assert await scaler.replicas() == 1  # one that waits activates
    others = await client.enqueue_many("thumbnail", [{}] * 60)
    assert await scaler.replicas() == 4

    async with worker(thumbnail=thumbnail):
        await started.wait()
        async with asyncio.timeout(20):
            while sum(depth.running for depth in await client.depths()) < 61:
                await asyncio.sleep(0.02)
        assert await scaler.replicas() == 4  # what runs holds the scale-in
        ends.set()
        for job in (first.id, *others):
            await client.wait(job, 20)
        assert await scaler.replicas() == 0


async def test_more_than_the_most_is_not_asked_for(scaler, client, worker):
    async def thumbnail() -> None: ...

    async with worker(thumbnail=thumbnail):
        pass
    await client.enqueue_many("thumbnail", [{}] * 1000)

    assert await scaler.replicas() == 20
