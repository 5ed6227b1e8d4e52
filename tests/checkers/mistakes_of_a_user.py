"""What type checkers must refuse, each line marked with why."""

from runtime import Context
from tests.checkers.functions_of_a_user import shout, takes_all, words


async def program(ctx: Context) -> None:
    await words.enqueue(txt="one")  # no such parameter
    await words.enqueue(text=1)  # of another type
    await words.enqueue()  # one is missing
    shout.enqueue(ctx, least=1)  # no such parameter
    await takes_all.enqueue(payload=["x"])  # of another type
    words.options(dely="10m")  # no such option
    ctx.enqueue("shout", {}, prioritty=1)  # no such option
    shout(text=1)  # of another type
