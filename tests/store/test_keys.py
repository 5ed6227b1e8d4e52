"""Scripts and Python make the same names."""

import inspect
import re
from pathlib import Path

import pytest

from runtime.store import keys, scripts
from runtime.store.keys import Keys

LUA = Path(scripts.__file__).parent / "lua"
NAMES = (LUA / "_keys.lua").read_text()
MADE = dict(re.findall(r"local function (\w+)_key\(.*?\) return (root .*?) end", NAMES))
MADE |= {
    name.lower(): made
    for left, right in re.findall(r"^local ([A-Z, ]+) = (root .*)$", NAMES, re.MULTILINE)
    for name, made in zip(left.split(", "), right.split(", "), strict=True)
}


def as_lua_makes_it(made, *arguments):
    left = list(arguments)
    parts = [part.strip() for part in made.split("..")]
    return "".join(
        {"root": Keys("p").root(3)}.get(p) or (p[1:-1] if p.startswith("'") else left.pop(0)) for p in parts
    )


OF_A_SHARD = [
    name
    for name, method in inspect.getmembers(Keys, inspect.isfunction)
    if "shard" in inspect.signature(method).parameters and name not in ("root", "mark")  # which no script needs
]


@pytest.mark.parametrize("name", OF_A_SHARD)
def test_scripts_make_the_name_that_keys_makes(name):
    arguments = [f"<{argument}>" for argument in list(inspect.signature(getattr(Keys, name)).parameters)[2:]]

    assert as_lua_makes_it(MADE[name], *arguments) == getattr(Keys("p"), name)(3, *arguments)


def test_keys_has_every_name_that_scripts_make():
    assert set(MADE) == set(OF_A_SHARD)


def test_no_script_makes_a_name_elsewhere():
    assert [path.name for path in LUA.glob("*.lua") if "root" in path.read_text()] == ["_keys.lua"]


def test_scripts_and_python_agree_on_the_group():
    shared = (LUA / "_shared.lua").read_text()

    assert f"GROUP, HELD, BACK = '{keys.GROUP}', '{keys.HELD}', '{keys.BACK}'" in shared


def test_every_script_says_what_it_takes_and_gives():
    for path in LUA.glob("*.lua"):
        if not path.name.startswith("_"):
            header = path.read_text().split("\nlocal", 1)[0]
            assert "-- ARGV[1]" in header, path.name
            assert "-- reply" in header, path.name
