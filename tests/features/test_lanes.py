"""Any names of lanes serve any function."""

import pytest

from runtime import function, settings

WAIT = 20


@pytest.mark.parametrize(
    ("lanes", "low", "normal", "high"),
    [
        ("1..10", "1", "5", "10"),
        ("low,normal,high", "low", "normal", "high"),
        ("bulk,live", "bulk", "bulk", "live"),
    ],
)
def test_low_normal_and_high_are_always_understood(lanes, low, normal, high):
    given = settings.load({}, lanes=lanes)

    assert [given.lane(name) for name in ("low", "normal", "high")] == [low, normal, high]


async def test_a_function_that_names_an_unknown_lane_runs_in_the_default_one_and_says_so(client, http, worker):
    @function(lane="urgent")
    async def f() -> str:
        return "fine"

    async with worker(f=f):
        done = await client.wait((await client.enqueue("f")).id, WAIT)
        shown = (await http.get("/functions/f")).json()

    assert (done.result, done.lane) == ("fine", "normal")
    assert "no lane is 'urgent'" in shown["trouble"]


async def test_the_same_from_a_file(client, worker, folder, settings):
    folder.write(f="from runtime import function\n@function(lane='urgent')\ndef handle(): return 'fine'")
    ten = settings.model_copy(update={"functions_dir": folder.path})
    async with worker(ten):
        done = await client.wait((await client.enqueue("f")).id, WAIT)

    assert (done.result, done.lane) == ("fine", "normal")
