"""Pages of other origins: kept out unless the settings name them."""

import pytest

from runtime import settings as settings_module
from runtime.errors import SettingsInvalid
from tests.conftest import deploy, serving

SHOP = "https://shop.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,authorization",
}


async def add(a: int = 1) -> int:
    return a


@pytest.fixture
async def open_http(client, settings):
    await deploy(client, add=add)
    async with serving(settings.model_copy(update={"cors": (SHOP,)})) as http:
        yield http


async def test_nobody_is_allowed_unless_the_settings_say_so(http, client):
    await deploy(client, add=add)

    asked = await http.options("/jobs", headers={"Origin": SHOP, **PREFLIGHT})
    read = await http.get("/jobs", headers={"Origin": SHOP})
    sent = await http.post("/functions/add/jobs", headers={"Origin": SHOP, "Sec-Fetch-Site": "cross-site"})

    assert asked.status_code == 405
    assert not [
        name for reply in (asked, read, sent) for name in reply.headers if name.startswith("access-control")
    ]
    assert sent.status_code == 403


async def test_a_page_of_a_named_origin_may_use_all_of_it(open_http):
    origin = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}

    asked = await open_http.options("/jobs", headers=origin | PREFLIGHT)
    sent = await open_http.post("/functions/add/jobs", headers=origin)
    wrong = await open_http.post("/jobs", json={"type": "nobody"}, headers=origin)
    stream = await open_http.get(f"/jobs/{sent.json()['id']}/output", headers=origin)

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-headers"] == "content-type,authorization"
    assert sent.status_code == 202
    assert {reply.headers["access-control-allow-origin"] for reply in (asked, sent, wrong, stream)} == {SHOP}
    assert "Location" in sent.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in sent.headers


async def test_another_page_stays_out(open_http):
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    asked = await open_http.options("/jobs", headers=other | PREFLIGHT)
    sent = await open_http.post("/functions/add/jobs", headers=other)

    assert (asked.status_code, sent.status_code) == (400, 403)
    assert "access-control-allow-origin" not in sent.headers


async def test_every_page_may_where_the_settings_say_so(client, settings):
    await deploy(client, add=add)
    async with serving(settings.model_copy(update={"cors": ("*",)})) as http:
        reply = await http.post("/functions/add/jobs", headers={"Origin": SHOP, "Sec-Fetch-Site": "cross-site"})

    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (202, "*")


@pytest.mark.parametrize("origins", ["shop.example", "https://shop.example/", "ftp://shop.example", "https://a b"])
def test_what_is_no_origin_is_refused_at_the_start(origins):
    with pytest.raises(SettingsInvalid, match="an origin is a scheme and a host"):
        settings_module.load({}, cors=origins)
