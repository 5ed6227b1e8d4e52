"""Access keys as they are kept."""

import pytest

from runtime.store.access import AccessKeys, Token, issue


@pytest.fixture
def keys(redis, settings):
    return AccessKeys(redis, settings)


async def test_a_key_is_kept_without_its_secret(keys, redis, settings):
    key, token = issue("shop", ["enqueue"], functions=["img_*"], rate="5/s", expires="1d")

    assert await keys.add(key)

    (stored,) = (await redis.hgetall(f"{settings.prefix}:access")).values()
    assert token.secret.encode() not in stored
    found = (await keys.all())["shop"]
    assert found.fits(Token.parse(str(token)))
    assert not found.fits(Token("shop", "x" * 43))
    assert found.covers("img_small")
    assert not found.covers("email")


async def test_a_name_is_never_two_keys(keys):
    first, _ = issue("shop", ["read"])
    second, token = issue("shop", ["read"])
    await keys.add(first)
    await keys.revoke("shop")

    assert not await keys.add(second)
    assert not (await keys.all())["shop"].fits(token)
    assert await keys.forget("shop")
    assert await keys.add(second)


async def test_a_key_is_revoked_once(keys):
    await keys.add(issue("shop", ["read"])[0])

    assert await keys.revoke("shop")
    revoked = await keys.all()
    assert await keys.revoke("shop")
    assert not await keys.revoke("nobody")
    assert revoked["shop"].status == "revoked"
    assert await keys.all() == revoked


async def test_a_rate_lets_so_many_through_at_once_and_then_the_next_in_turn(keys):
    key, _ = issue("shop", ["read"], rate="3/m")

    waits = [await keys.charge(key, 1) for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert 19 < waits[3] <= 20


async def test_what_costs_more_than_is_left_is_paid_for_by_those_after_it(keys):
    key, _ = issue("shop", ["read"], rate="3/m")

    assert await keys.charge(key, 6) == 0
    assert 79 < await keys.charge(key, 1) <= 80


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "Shop"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a" * 41}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["write"]}, "scopes"),
        ({"functions": ["a b"]}, "functions"),
        ({"functions": ["email"], "scopes": ["admin"]}, "admin"),
        ({"rate": "fast"}, "rate"),
        ({"expires": "soon"}, "soon"),
        ({"expires": 0}, "to come"),
    ],
)
def test_a_key_that_cannot_be_is_refused(arguments, problem):
    named = {"name": "shop", "scopes": ["read"]} | arguments

    with pytest.raises(ValueError, match=problem):
        issue(named.pop("name"), named.pop("scopes"), **named)


@pytest.mark.parametrize("text", ["", "lw_", "lw_shop", "lw_shop_short", "shop", "lw_Shop_" + "x" * 43])
def test_what_is_no_token_is_none(text):
    assert Token.parse(text) is None
