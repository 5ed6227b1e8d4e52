"""Webhooks in: requests of providers that know nothing of Lanework, signed as they sign."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from runtime import Context, GitHubWebhook, Hook, StandardWebhook, StripeWebhook, function
from runtime.errors import FunctionInvalid
from runtime.gateway.hook_signatures import delivery
from runtime.handlers.spec import Function
from runtime.store.access import issue
from tests.conftest import deploy, until_keys_are_asked_for

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = b'{"id": "evt_1", "type": "paid"}'


async def plain(hook: Hook) -> None: ...


async def echo(payload) -> None: ...


@function(hook=StandardWebhook(secret="env:SHOP_SECRET"))
async def shop(hook: Hook, ctx: Context) -> dict:
    return {"type": hook.json()["type"], "id": hook.headers["webhook-id"], "q": hook.query, "method": hook.method}


@function(hook=GitHubWebhook(secret="env:GITHUB_SECRET"))
async def github(hook: Hook) -> int:
    return len(hook.body)


@function(hook=StripeWebhook(secret="env:STRIPE_SECRET"))
async def stripe(event: Hook) -> str:
    return event.json()["type"]


HANDLERS = {"plain": plain, "shop": shop, "github": github, "stripe": stripe}


@pytest.fixture(autouse=True)
async def deployed(client, monkeypatch):
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    monkeypatch.setenv("GITHUB_SECRET", "It's_a_Secret_to_Everybody")
    monkeypatch.setenv("STRIPE_SECRET", "whsec_old whsec_new")
    await deploy(client, **HANDLERS, echo=echo)


def standard(body, secret=SECRET, name="msg_1", at=None):
    at = at or datetime.now(UTC)
    signature = Webhook(secret).sign(name, at, body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def by_stripe(body, secret="whsec_new", at=None):
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1=00,v1={digest},v0=11"}


async def test_a_signed_delivery_becomes_a_job_that_gets_all_of_it(http, client, worker):
    async with worker(**HANDLERS):
        reply = await http.post("/hooks/shop?a=1", content=BODY, headers=standard(BODY))
        done = await client.wait(reply.json()["id"], 10)

    assert reply.status_code == 202
    assert done.result == {"type": "paid", "id": "msg_1", "q": {"a": "1"}, "method": "POST"}
    assert (done.payload["headers"], done.payload["query"]) == ("***", "***")


async def test_the_same_delivery_is_one_job(http, client):
    first = await http.post("/hooks/shop", content=BODY, headers=standard(BODY))
    later = datetime.now(UTC) + timedelta(seconds=60)
    again = await http.post("/hooks/shop?n=2", content=BODY, headers=standard(BODY, at=later))
    other = await http.post("/hooks/shop", content=BODY, headers=standard(BODY, name="msg_2"))

    assert [reply.status_code for reply in (first, again, other)] == [202, 200, 202]
    assert first.json() == again.json() != other.json()
    assert len((await client.page()).jobs) == 2


async def test_githubs_signature_as_its_documentation_has_it(http, client, worker, monkeypatch):
    monkeypatch.setenv("GITHUB_SECRET", "It's")
    body = b"Hello, World!"
    digest = hmac.new(b"It's", body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": "72d3162e"}
    async with worker(**HANDLERS):
        reply = await http.post("/hooks/github", content=body, headers=headers)
        done = await client.wait(reply.json()["id"], 10)

    assert (reply.status_code, done.result) == (202, 13)
    forged = headers | {"X-GitHub-Delivery": "another", "X-GitHub-Event": "another"}
    assert (await http.post("/hooks/github", content=body, headers=forged)).status_code == 200


def test_the_example_of_githubs_documentation():
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature, "x-github-delivery": "72d3162e"}

    assert delivery("github", ["It's a Secret to Everybody"], headers, b"Hello, World!") == signature.removeprefix(
        "sha256="
    )


async def test_stripes_signature_with_one_of_two_secrets(http, client, worker):
    async with worker(**HANDLERS):
        reply = await http.post("/hooks/stripe", content=BODY, headers=by_stripe(BODY))
        done = await client.wait(reply.json()["id"], 10)
        again = await http.post("/hooks/stripe", content=BODY, headers=by_stripe(BODY, "whsec_old"))

    assert (done.result, again.status_code) == ("paid", 200)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("shop", {}),
        ("shop", standard(BODY + b" ")),
        ("shop", standard(BODY, "whsec_" + base64.b64encode(b"x" * 32).decode())),
        ("shop", standard(BODY, at=datetime.now(UTC) - timedelta(minutes=20))),
        ("shop", standard(BODY) | {"webhook-signature": "v1"}),
        ("shop", standard(BODY) | {"webhook-signature": "v1,%%%"}),
        ("shop", standard(BODY) | {"webhook-timestamp": "nan"}),
        ("shop", standard(BODY) | {"webhook-id": "msg_9"}),
        ("github", {"X-Hub-Signature-256": "sha256=00", "X-GitHub-Delivery": "d"}),
        ("github", {"X-Hub-Signature-256": "", "X-GitHub-Delivery": "d"}),
        ("github", {"X-GitHub-Delivery": "d"}),
        ("stripe", {"Stripe-Signature": "t=1"}),
        ("stripe", {"Stripe-Signature": ""}),
        ("stripe", {"Stripe-Signature": "v1=00"}),
        ("stripe", {"Stripe-Signature": "t=١,v1=00".encode()}),
        ("stripe", by_stripe(BODY, at=1)),
        ("stripe", by_stripe(BODY, "other")),
    ],
)
async def test_what_is_not_signed_is_refused_before_anything_is_stored(http, client, path, headers):
    reply = await http.post(f"/hooks/{path}", content=BODY, headers=headers)

    assert (reply.status_code, reply.json()["type"]) == (401, "/problems/access-denied")
    assert (await client.page()).jobs == []


async def test_a_signature_does_not_fit_another_way_to_cut_what_is_signed(http, client):
    now = int(time.time())
    body = f'{{"comment":"hello.{now}.rest"}}'.encode()
    headers = standard(body, at=datetime.fromtimestamp(now, UTC))
    cut = headers | {"webhook-id": f'msg_1.{now}.{{"comment":"hello'}

    assert (await http.post("/hooks/shop", content=b'rest"}', headers=cut)).status_code == 401


async def test_a_signed_delivery_comes_by_post_and_once_for_all_names_of_a_function(http, client):
    @function(hook=StandardWebhook(secret="env:SHOP_SECRET"), aliases=["store"])
    async def shop(hook: Hook) -> None: ...

    await deploy(client, shop=shop)
    headers = standard(BODY)
    replies = [await http.post(f"/hooks/{name}", content=BODY, headers=headers) for name in ("shop", "store")]

    assert [reply.status_code for reply in replies] == [202, 200]
    assert (await http.delete("/hooks/shop", headers=headers)).status_code == 405


async def test_two_long_ids_are_two_deliveries(http):
    first = await http.post("/hooks/shop", content=BODY, headers=standard(BODY, name="m" * 400 + "1"))
    second = await http.post("/hooks/shop", content=BODY, headers=standard(BODY, name="m" * 400 + "2"))

    assert (first.status_code, second.status_code) == (202, 202)


async def test_a_body_may_be_anything(http, client, worker):
    got = []

    async def plain(hook: Hook) -> None:
        got.append(hook)

    async with worker(plain=plain):
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "a=b",
            "Authorization": "Bearer x",
        }
        reply = await http.patch("/hooks/plain?a=1&a=2", content=b"\xff\x00=1", headers=headers)
        await client.wait(reply.json()["id"], 10)
        empty = await http.post("/hooks/plain")
        await client.wait(empty.json()["id"], 10)
        shown = await http.get(f"/jobs/{reply.json()['id']}")

    assert (got[0].body, got[0].query, got[0].method) == (b"\xff\x00=1", {"a": "2"}, "PATCH")
    assert got[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert not {"cookie", "authorization"} & got[0].headers.keys()
    assert got[1].body == b""
    assert shown.json()["payload"]["body"] == {"$base64": "/wA9MQ=="}


async def test_a_body_is_bounded(http):
    assert (await http.post("/hooks/plain", content=b"x" * 30_000)).status_code == 413


async def test_a_page_elsewhere_sends_no_unsigned_hook(http):
    assert (await http.post("/hooks/plain", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403


async def test_a_function_without_hooks_takes_none(http):
    reply = await http.post("/hooks/echo", content=BODY)
    unknown = await http.post("/hooks/nothing", content=BODY)

    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/hook-unknown")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/function-unknown")


async def test_where_keys_are_asked_for_a_signature_is_enough_and_no_signature_is_not(http, client):
    made, token = issue("sender", ["enqueue"], functions=["plain"])
    await client.access.add(made)
    headers = {"Authorization": f"Bearer {token}"}
    await until_keys_are_asked_for(http)

    async def status(path, headers):
        return (await http.post(f"/hooks/{path}", content=BODY, headers=headers)).status_code

    assert await status("shop", standard(BODY)) == 202
    assert await status("plain", {}) == 401
    assert await status("nothing", {}) == 401
    assert await status("plain", headers) == 202
    assert await status("echo", headers) == 403


async def test_a_gateway_without_the_secret_says_so_and_the_provider_comes_again(http, monkeypatch):
    for secret in ("", "whsec_", "whsec_!"):
        monkeypatch.setenv("SHOP_SECRET", secret)

        reply = await http.post("/hooks/shop", content=BODY, headers=standard(BODY))

        assert (reply.status_code, reply.json()["type"]) == (503, "/problems/hook-unready")


async def test_secrets_are_nowhere_to_be_seen(http):
    shown = {fn["name"]: fn["hook"] for fn in (await http.get("/functions")).json()["functions"]}

    assert shown["shop"] == ["standard", "env:SHOP_SECRET"]
    assert shown["plain"] == ["unsigned", ""]
    assert SECRET not in json.dumps(shown)


@pytest.mark.parametrize("secret", ["whsec_abc", "", "env:", "env:a b", None])
def test_a_secret_in_the_module_is_refused(secret):
    with pytest.raises(FunctionInvalid, match="env:SHOP_SECRET"):
        StandardWebhook(secret=secret)


def test_what_takes_hooks_has_one_parameter_for_that():
    async def two(hook: Hook, n: int) -> None: ...

    with pytest.raises(FunctionInvalid, match="of type Hook"):
        Function("two", two)
    with pytest.raises(FunctionInvalid, match="of type Hook"):
        Function("echo", function(hook=GitHubWebhook(secret="env:S"))(echo))
    with pytest.raises(FunctionInvalid, match="signature"):
        function(hook="env:S")
