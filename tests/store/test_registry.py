"""What processes tell of themselves, which may be of another version, and end without a word."""

import dataclasses

import pytest

from runtime.store.registry import Deployed, Registry, WorkerInfo
from runtime.values import codec


@pytest.fixture
def registry(redis, settings):
    return Registry(redis, settings)


def worker(name):
    return WorkerInfo(name, {"f": "1f3c"}, 10, 2, 1_700_000_000_000, "", {})


async def test_a_later_version_may_tell_more(registry, redis, store):
    function = Deployed("f", "normal", 1.0, 3, "", {}, "f")
    told = dataclasses.asdict(function) | {"colour": "blue"}
    await redis.hset(store.keys.functions, "f", codec.pack(told))
    await registry.beat(worker("one"))
    await redis.set(
        store.keys.worker("one"), codec.pack(dataclasses.asdict(worker("one")) | {"mood": "good"}), px=9000
    )

    assert await registry.functions() == {"f": function}
    assert await registry.workers() == [worker("one")]


async def test_a_worker_that_was_killed_is_forgotten_and_no_other(registry, redis, store):
    for name in ("one", "two"):
        await registry.beat(worker(name))
    await redis.delete(store.keys.worker("one"))  # as it is when it has been silent for 15 s

    assert await registry.workers() == [worker("two")]
    assert await redis.zrange(store.keys.workers, 0, -1) == [b"two"]
    await registry.beat(worker("one"))
    assert await registry.workers() == [worker("one"), worker("two")]
