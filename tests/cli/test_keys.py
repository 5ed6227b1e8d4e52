"""`lanework keys`, and what gateways and other commands do with them."""

import asyncio
import json
import re

import httpx
import pytest

from tests.servers import free_port, until


@pytest.fixture
def lanework(process):
    """Runs a command to its end; returns its exit code, and what it printed."""

    async def run(*arguments, **env):
        one = process(*arguments, **env)
        code = await asyncio.to_thread(one.popen.wait, 30)
        return code, one.log.read_text()

    return run


@pytest.fixture
async def beyond_loopback(process):
    """Starts a gateway that others can reach."""

    def start(**env):
        port = free_port()
        return process("gateway", "--host", "0.0.0.0", "--port", str(port), **env), f"http://127.0.0.1:{port}"

    return start


async def test_a_key_that_was_made_is_let_in_and_once_revoked_is_not(lanework, beyond_loopback):
    code, printed = await lanework(
        "keys", "new", "shop", "--functions", "img_*", "--rate", "9/s", "--expires", "90d"
    )
    token = re.match(r"lw_shop_\S{43}", printed)[0]
    gateway, url = beyond_loopback()
    await asyncio.to_thread(gateway.await_said, "gateway.started")

    async def status(*arguments):
        return (await lanework("jobs", *arguments, URL=url, KEY=token))[0]

    assert code == 0
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=5), trust_env=False) as http:
        assert (await http.get(f"{url}/jobs")).status_code == 401
    assert await status() == 0
    listed = json.loads((await lanework("keys", "ls", "--json"))[1])["keys"]
    assert [(key["name"], key["status"], key["functions"]) for key in listed] == [("shop", "valid", ["img_*"])]
    assert (await lanework("keys", "revoke", "shop"))[0] == 0
    async with asyncio.timeout(30):
        while await status() != 3:
            pass
    assert "revoked" in (await lanework("keys", "ls"))[1]
    assert token not in gateway.log.read_text()


async def test_a_gateway_that_others_can_reach_does_not_start_without_keys(beyond_loopback):
    gateway, _ = beyond_loopback()

    assert await asyncio.to_thread(gateway.popen.wait, 30) == 3
    assert "lanework keys new" in gateway.log.read_text()


async def test_unless_it_is_told_that_something_else_says_who_reaches_it(beyond_loopback):
    gateway, url = beyond_loopback(INSECURE="1")
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False) as http:
        await asyncio.to_thread(gateway.await_said, "gateway.started")
        await asyncio.to_thread(until, lambda: http.get(f"{url}/jobs").status_code == 200, "a list of jobs")


async def test_up_does_not_start_for_others_without_keys(process, tmp_path, folder):
    up = process(
        "up", "--data", str(tmp_path / "data"), "--functions", str(folder.path), "--port", "0", HOST="0.0.0.0"
    )

    assert await asyncio.to_thread(up.popen.wait, 40) == 3
    assert "asks for access keys, and there is none" in up.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["new", "Shop"], "name"),
        (["new", "--scopes", "write"], "enqueue, read, metrics, work, operate, admin"),
        (["new", "--rate", "fast"], "rate"),
        (["new", "--rate", ""], "rate"),
        (["new", "--functions", ""], "functions"),
    ],
)
async def test_a_key_that_cannot_be_is_wrong_usage(lanework, arguments, problem):
    code, printed = await lanework("keys", *arguments)

    assert code == 2
    assert problem in printed


async def test_a_name_that_is_taken_and_one_that_is_not_there_are_refused(lanework):
    assert (await lanework("keys", "new", "shop"))[0] == 0
    assert (await lanework("keys", "new", "shop"))[0] == 3
    assert (await lanework("keys", "revoke", "nobody"))[0] == 3


async def test_commands_do_not_show_their_key(lanework):
    code, printed = await lanework("settings", KEY="lw_secret")
    assert code == 0
    assert "lw_secret" not in printed

    code, printed = await lanework("jobs", KEY="lw_secret x\n")
    assert code == 3
    assert "LANEWORK_KEY" in printed
    assert "lw_secret" not in printed


async def test_the_secret_of_callbacks_is_made_once_and_shown(lanework):
    code, first = await lanework("keys", "webhook-secret")
    _, second = await lanework("keys", "webhook-secret")
    own = f"whsec_{'a' * 43}="
    _, third = await lanework("keys", "webhook-secret", WEBHOOK_SECRET=own)

    assert code == 0
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", first)
    assert (second, third) == (first, f"{own}\n")
    assert (await lanework("settings", WEBHOOK_SECRET="secret"))[0] == 3


async def test_a_key_may_have_a_secret_of_its_own_for_callbacks(lanework):
    code, made = await lanework("keys", "new", "shop", "--own-webhook-secret", "--json")
    await lanework("keys", "new", "plain")
    _, own = await lanework("keys", "webhook-secret", "shop")
    _, shared = await lanework("keys", "webhook-secret")
    listed = (await lanework("keys", "ls", "--json"))[1]

    assert code == 0
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", own)
    assert own != shared
    assert own.strip() not in made + listed
    assert {key["name"]: key["own_webhook_secret"] for key in json.loads(listed)["keys"]} == {
        "plain": False,
        "shop": True,
    }
    assert (await lanework("keys", "webhook-secret", "plain"))[0] == 3
    assert (await lanework("keys", "webhook-secret", "nobody"))[0] == 3
