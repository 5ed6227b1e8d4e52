"""deploy/redis/users.acl: all tests run with these rights, so that none is missing; here, that none is too many."""

import re
from pathlib import Path

import pytest

import runtime
from tests.conftest import USERS

SOURCE = Path(runtime.__file__).parent
LUA = "".join(path.read_text() for path in (SOURCE / "store/lua").glob("*.lua"))
PYTHON = "".join(
    path.read_text()
    for path in SOURCE.rglob("*.py")
    if "/generated/" not in str(path) and path.name != "embedded.py"
)
(RULES,) = [line for line in USERS.read_text().splitlines() if line.startswith("user lanework ")]
# what redis-py sends by itself: to name its connections, to choose a database, to find its way in a cluster
BY_REDIS_PY = {"client|setname", "select", "command", "cluster|slots"}


@pytest.mark.parametrize("command", re.findall(r"\+(\S+)", RULES))
def test_no_right_is_given_that_nothing_uses(command):
    if command in BY_REDIS_PY:
        return
    name, _, part = command.partition("|")
    called = [rf"\.{name}{f'_{part}' if part else ''}(_iter|_range)?\(", rf'"{name}"', rf"'{name}'"]

    assert re.search("|".join(called), LUA + PYTHON, re.IGNORECASE), command


def test_keys_of_others_and_channels_are_out_of_reach():
    assert re.findall(r"[~&%]\S+", RULES) == ["~lw:*"]
    assert {"resetkeys", "resetchannels", "-@all"} <= set(RULES.split())
