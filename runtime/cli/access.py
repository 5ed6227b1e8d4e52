"""What `lanework keys` does. It talks to Redis directly: who can reach Redis needs no key; gateways make none."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from runtime.cli import show
from runtime.errors import StoreUnavailable
from runtime.settings import Settings
from runtime.store.access import AccessKey, AccessKeys, issue
from runtime.store.connect import opened
from runtime.store.webhook_secret import WebhookSecret, made
from runtime.values.clock import rfc3339

Answer = TypeVar("Answer")


def new(
    settings: Settings,
    name: str | None,
    scopes: Sequence[str],
    functions: Sequence[str],
    rate: str | None,
    expires: str | None,
    own_webhook_secret: bool,
    as_json: bool,
) -> int:
    name = name or f"key-{secrets.token_hex(3)}"
    try:
        if rate == "":
            raise ValueError("rate is empty: leave it out for any number of requests")
        signs_with = made() if own_webhook_secret else ""
        key, token = issue(
            name, scopes, functions=functions, rate=rate or "", expires=expires, webhook_secret=signs_with
        )
    except ValueError as error:
        show.error("usage", str(error))
        return show.USAGE
    if not _with_keys(settings, lambda keys: keys.add(key)):
        show.error("key-exists", f"the name {name} is taken, perhaps by a revoked key: choose another")
        return show.REFUSED
    show.json({**_described(key), "key": str(token)}) if as_json else print(token)
    show.note(
        "It is shown only once. Programs send it as `Authorization: Bearer lw_…`; commands such as `lanework jobs` "
        "take it from LANEWORK_KEY."
    )
    return show.DONE


def ls(settings: Settings, as_json: bool) -> int:
    keys = [_described(key) for key in _with_keys(settings, lambda keys: keys.all()).values()]
    if as_json:
        show.json({"keys": keys})
        return show.DONE
    columns = ["name", "status", "scopes", "functions", "rate", "created_at", "expires_at"]
    rows = [[_text(column, key[column]) for column in columns] for key in keys]
    show.table([column.removesuffix("_at") for column in columns], rows, "no access keys")
    return show.DONE


def revoke(settings: Settings, name: str, *, forget: bool) -> int:
    if not _with_keys(settings, lambda keys: keys.forget(name) if forget else keys.revoke(name)):
        show.error("key-unknown", f"there is no access key {name}; `lanework keys ls` lists them")
        return show.REFUSED
    show.note(f"{name} is {'forgotten' if forget else 'revoked'}")
    return show.DONE


def webhook_secret(settings: Settings, name: str | None) -> int:
    async def read() -> str | None:
        async with opened(settings) as client:
            keys = AccessKeys(client, settings)
            return await (WebhookSecret(client, settings).get() if name is None else keys.webhook_secret(name))

    secret = asyncio.run(read())
    if secret is None:
        show.error("key-unknown", f"there is no access key {name} with a webhook secret of its own")
        return show.REFUSED
    print(secret)
    return show.DONE


def _with_keys(settings: Settings, action: Callable[[AccessKeys], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with opened(settings) as client:
            return await action(AccessKeys(client, settings))

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        hint = "set REDIS_URL to it, or give --data .lanework where `lanework up` runs"
        raise StoreUnavailable(f"{error}; {hint}") from None


def _described(key: AccessKey) -> dict[str, object]:
    """All but its secrets."""
    shown = {name: value for name, value in asdict(key).items() if name not in ("digest", "webhook_secret")}
    shown["own_webhook_secret"] = bool(key.webhook_secret)
    times = {name: rfc3339(shown[name]) for name in ("created_at", "expires_at", "revoked_at")}
    return {**shown, **times, "status": key.status}


def _text(column: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "all"
    return {"expires_at": "never", "rate": "any"}.get(column, "") if value in (None, "") else str(value)
