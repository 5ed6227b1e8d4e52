"""Scripts and Python make the same names."""

import re
from pathlib import Path

from runtime.store import keys, scripts
from runtime.store.keys import Keys

LUA = Path(scripts.__file__).parent / "lua"
SHARED = (LUA / "_shared.lua").read_text()


def test_scripts_make_the_names_that_keys_makes():
    made = dict(re.findall(r"local function (\w+)_key\([^)]*\) return root \.\. '([^']+)'", SHARED))
    root, names = "p:{3}", Keys("p")

    assert names.root(3) == root
    assert names.lane(3, "f", "low") == f"{root}{made['lane']}f:low"
    assert names.job(3, "ID") == f"{root}{made['job']}ID"
    assert names.ready(3, "low") == f"{root}{made['ready']}low"
    assert names.bell(3, "f") == f"{root}{made['bell']}f"
    for name in ("due", "lanes", "log", "events"):
        assert f"root .. ':{name}'" in SHARED
        assert getattr(names, name)(3) == f"{root}:{name}"
    assert "root .. ':alive:'" in (LUA / "take.lua").read_text()
    assert names.alive(3, "w") == f"{root}:alive:w"
    assert "root .. ':backs'" in SHARED
    assert names.backs(3) == f"{root}:backs"
    assert "root .. ':lock:reclaim'" in (LUA / "reclaim.lua").read_text()
    assert names.lock(3, "reclaim") == f"{root}:lock:reclaim"
    for name in ("expiry", "paused"):
        assert f"root .. ':{name}'" in SHARED
        assert getattr(names, name)(3) == f"{root}:{name}"
    assert "root .. ':dead:'" in (LUA / "_finish.lua").read_text()
    assert names.dead(3, "f") == f"{root}:dead:f"
    assert "root .. ':orders:'" in (LUA / "cancel.lua").read_text()
    assert names.orders(3, "w") == f"{root}:orders:w"
    assert "root .. ':cron'" in (LUA / "tick.lua").read_text()
    assert names.cron(3) == f"{root}:cron"
    assert "root .. ':stored:'" in (LUA / "enqueue.lua").read_text()
    assert names.stored(3, "ID") == f"{root}:stored:ID"


def test_scripts_and_python_agree_on_the_group():
    assert f"GROUP, HELD, BACK = '{keys.GROUP}', '{keys.HELD}', '{keys.BACK}'" in SHARED


def test_every_script_says_what_it_takes_and_gives():
    for path in LUA.glob("*.lua"):
        if not path.name.startswith("_"):
            header = path.read_text().split("\nlocal", 1)[0]
            assert "-- ARGV[1]" in header, path.name
            assert "-- reply" in header, path.name
