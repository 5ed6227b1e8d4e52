"""A user's module of functions, and a program that enqueues them: what type checkers must accept."""

from typing import assert_type

from runtime import Context, function
from runtime.client import Lanework
from runtime.jobs.job import Job


@function(timeout=30)
async def words(ctx: Context, text: str, least: int = 1) -> dict[str, int]:
    ctx.enqueue("shout", {"text": text}, priority="low", delay="10m")
    shout.enqueue(ctx, text=text)
    return {"words": len([word for word in text.split() if len(word) >= least])}


@function()
def shout(text: str) -> str:
    return text.upper()


@function()
async def takes_all(payload: list[int]) -> int:
    return sum(payload)


async def program() -> None:
    async with Lanework() as lanework:
        job = await words.enqueue(text="one two", least=2)
        assert_type(job, Job[dict[str, int] | None])
        done = await lanework.wait(job, timeout=10)
        assert_type(done.result, dict[str, int] | None)
        later = await shout.options(delay="10m", priority=1).enqueue(text="quiet")
        assert_type(later, Job[str | None])
        assert_type((await takes_all.enqueue(payload=[1, 2])).result, int | None)
        plain = await lanework.enqueue("words", {"text": "one"}, unique="payload")
        assert_type(plain.id, str)


def in_a_test() -> None:
    assert_type(shout("quiet"), str)
