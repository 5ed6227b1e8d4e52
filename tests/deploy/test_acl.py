"""deploy/redis/users.acl: the features' tests run with these rights, so none is missing; here, none is too many."""

import re
import subprocess
from pathlib import Path

import pytest
import redis as redis_py

import runtime
from runtime import settings as settings_module
from runtime.client import Lanework
from runtime.store import embedded
from tests.conftest import USERS, deploy
from tests.servers import DEADLINE, free_port, until

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


async def test_a_server_starts_with_the_file_and_jobs_run_as_its_user(tmp_path, worker):
    port = free_port()
    command = [str(embedded.binary()), "--port", str(port), "--dir", str(tmp_path), "--aclfile", str(USERS)]
    url = f"redis://lanework:change-me@127.0.0.1:{port}/0"
    settings = settings_module.load({}, redis_url=url, worker_port=0, files_dir=tmp_path)

    async def echo(payload):
        return payload

    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers(url), "the server")
        with redis_py.Redis(port=port) as nobody, pytest.raises(redis_py.AuthenticationError):
            nobody.ping()
        async with Lanework(settings) as client, worker(settings, echo=echo):
            await deploy(client, echo=echo)
            done = await client.wait(await client.enqueue("echo", 7), DEADLINE)
    finally:
        server.terminate()
        server.wait(DEADLINE)

    assert done.result == 7


def answers(url):
    with redis_py.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis_py.ConnectionError:
            return False
