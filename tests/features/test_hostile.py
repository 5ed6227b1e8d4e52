"""Handlers that do their worst end their own attempt, and nothing else."""

import asyncio

import pytest

from runtime import RetryLater, function

WAIT = 15


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Odd(BaseException):
    pass


def raises(error):
    @function(retry=1)
    async def handle() -> None:
        raise error

    return handle


def returns(value):
    @function(retry=1)
    async def handle():
        return value

    return handle


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "handler",
    [
        raises(ValueError("\ud800")),
        raises(Unprintable()),
        raises(Odd()),
        raises(KeyboardInterrupt()),
        raises(GeneratorExit()),
        raises(asyncio.CancelledError()),
        raises(StopAsyncIteration()),
        raises(ExceptionGroup("many", [ValueError("one")])),
        returns({b"k": 1}),
        returns({(1, 2): 1}),
        returns(nested(300)),
        returns(nested(2000)),
        returns(2**70),
        returns("\ud800"),
        returns({"\ud800": 1}),
    ],
)
async def test_a_handler_that_does_its_worst_fails_alone(client, worker, handler):
    async def echo(payload: int) -> int:
        return payload

    async with worker(worst=handler, echo=echo):
        worst = await client.enqueue("worst")
        others = [await client.enqueue("echo", n) for n in range(5)]
        done = await client.wait(worst.id, WAIT)
        results = [(await client.wait(job.id, WAIT)).result for job in others]

    assert done.status == "failed"
    assert done.error["type"]
    assert results == [0, 1, 2, 3, 4]
    assert {job.status for job in (await client.page()).jobs} == {"failed", "completed"}


@pytest.mark.parametrize("seconds", [1e17, float("inf"), float("nan"), -5])
async def test_a_delay_beyond_all_bounds_is_bounded(client, worker, seconds):
    @function(retry=5)
    async def later() -> None:
        raise RetryLater(seconds)

    async def echo(payload: int) -> int:
        return payload

    async with worker(later=later, echo=echo):
        odd = await client.enqueue("later")
        other = await client.wait((await client.enqueue("echo", 1)).id, WAIT)
        async with asyncio.timeout(WAIT):
            while not (seen := await client.get(odd.id)).attempts or seen.status == "running":
                await asyncio.sleep(0)

    assert other.result == 1
    assert seen.status in ("scheduled", "pending", "failed")
    assert seen.attempts[0]["outcome"] in ("retry", "failed")


async def test_a_lane_that_is_not_there_hurts_no_other_function_and_is_noted(client, worker):
    @function(lane="nosuch")
    async def lost() -> None: ...

    async def echo(payload: int) -> int:
        return payload

    async with worker(lost=lost, echo=echo):
        assert (await client.wait((await client.enqueue("echo", 1)).id, WAIT)).result == 1
        functions = await client.functions()

    assert functions["lost"].broken is None
    assert "no lane is" in functions["lost"].note
