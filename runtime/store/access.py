"""Access keys: what lets a program in through a gateway. Of its secret only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, cast, get_args

from runtime import log
from runtime.errors import AccessForbidden
from runtime.settings import Settings
from runtime.store import scripts
from runtime.store.connect import Redis, translated
from runtime.store.keys import Keys
from runtime.values import codec, durations
from runtime.values.clock import now_ms

Scope = Literal["enqueue", "read", "metrics", "work", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_ADMIN = frozenset(("admin",))
_WIDER = {"metrics": frozenset(("read", "operate", "admin")), "read": frozenset(("operate", "admin"))}
_ANY = 10**12  # more than any number of requests
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PATTERN = re.compile(r"[A-Za-z0-9_*?-]{1,100}")
_TOKEN = re.compile(r"lw_([a-z0-9][a-z0-9-]{0,39})_([A-Za-z0-9_-]{43})")


class Token(NamedTuple):
    """What a program shows: the key's name, and its secret of 256 bits."""

    name: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """None for what is no token."""
        found = _TOKEN.fullmatch(text)
        return cls(found[1], found[2]) if found else None

    def __str__(self) -> str:
        return f"lw_{self.name}_{self.secret}"

    @property
    def digest(self) -> str:
        """Of a secret that nobody could guess, so that a fast hash does."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Who it is for, and what it allows. `functions`: patterns of their names, none: all. `rate`: requests, such as
    "100/s", and "" for any number. Times: Unix milliseconds. `webhook_secret`: what callbacks of its jobs are
    signed with, and "" for what all are."""

    name: str
    digest: str
    scopes: Sequence[str]
    functions: Sequence[str] = ()
    rate: str = ""
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    webhook_secret: str = field(default="", repr=False)

    @property
    def status(self) -> Literal["valid", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now_ms() else "valid"

    def fits(self, token: Token) -> bool:
        """Whether the token is this key's; takes as long for each."""
        return hmac.compare_digest(self.digest, token.digest)

    def allows(self, scope: str) -> bool:
        """`admin` has every scope, `operate` those of `read`, and `read` has `metrics`."""
        return scope in self.scopes or not _WIDER.get(scope, _ADMIN).isdisjoint(self.scopes)

    def require(self, scope: str) -> None:
        """Raises AccessForbidden."""
        if not self.allows(scope):
            raise AccessForbidden(
                f"the access key {self.name} has the scopes {', '.join(self.scopes)}, not {scope}"
            )

    def covers(self, function: str) -> bool:
        return not self.functions or any(fnmatchcase(function, pattern) for pattern in self.functions)


def issue(
    name: str,
    scopes: Sequence[str],
    *,
    functions: Sequence[str] = (),
    rate: str = "",
    expires: float | str | None = None,
    webhook_secret: str = "",
) -> tuple[AccessKey, Token]:
    """A new key and its token, which is nowhere else. `expires`: from now on, such as "90d". Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a key's name has 1 to 40 of a-z, 0-9 and -, such as web-shop, not {name[:50]!r}")
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"scopes are some of {', '.join(SCOPES)}, not {', '.join(scopes)[:100] or 'none'}")
    if bad := [pattern for pattern in functions if not _PATTERN.fullmatch(pattern)]:
        raise ValueError(f"functions are names or patterns, such as email or img_*, not {bad[0][:50]!r}")
    if functions and "admin" in scopes:
        raise ValueError("the scope admin is for all functions: leave functions out, or give operate")
    if rate:
        durations.allowance(rate)
    now = now_ms()
    until = None if expires is None else now + round(durations.seconds(expires) * 1000)
    if until is not None and until <= now:
        raise ValueError('expires is a time to come, such as "90d"')
    token = Token(name, secrets.token_urlsafe(32))
    limits = (tuple(scopes), tuple(functions), rate)
    return AccessKey(name, token.digest, *limits, now, until, webhook_secret=webhook_secret), token


class AccessKeys:
    """The keys of all gateways, by name."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._keys = Keys(settings.prefix)

    async def add(self, key: AccessKey) -> bool:
        """False where the name is taken, by a revoked key too: logs name keys."""
        with translated():
            added = await cast("Any", self._client.hsetnx(self._keys.access, key.name, codec.pack(asdict(key))))
        return bool(added)

    async def all(self) -> Mapping[str, AccessKey]:
        with translated():
            stored = await cast("Any", self._client.hgetall(self._keys.access))
        keys: dict[str, AccessKey] = {}
        for name, packed in sorted(stored.items()):
            try:
                keys[name.decode()] = _read(packed)
            except (ValueError, TypeError, AttributeError) as error:  # it lets nobody in, and keeps nobody out
                log.get("store").warning("access_key.unreadable", key=repr(name), error=str(error)[:200])
        return keys

    async def webhook_secret(self, name: str) -> str | None:
        """What callbacks of this key's jobs are signed with; None where the key is forgotten, or has no own."""
        with translated():
            packed = await cast("Any", self._client.hget(self._keys.access, name))
        return (_read(packed).webhook_secret or None) if packed else None

    async def revoke(self, name: str) -> bool:
        """Gateways refuse it within two seconds. False where there is none of that name."""
        key = (await self.all()).get(name)
        if key is None:
            return False
        if key.revoked_at is None:
            revoked = replace(key, revoked_at=now_ms())
            with translated():
                await cast("Any", self._client.hset(self._keys.access, name, codec.pack(asdict(revoked))))
        return True

    async def forget(self, name: str) -> bool:
        """Deletes it; whether it was there."""
        with translated():
            return bool(await cast("Any", self._client.hdel(self._keys.access, name)))

    async def charge(self, key: AccessKey, requests: int, *, admitted: bool = False) -> float:
        """Charges a key that has a rate; returns seconds until it may ask again, 0 where it may now. `admitted`: a
        request that was let in costs this besides, however much is left."""
        every, count = durations.allowance(key.rate)
        us = max(1, round(every * 1_000_000))
        at_once = _ANY if admitted else count
        return int(await scripts.CHARGE(self._client, self._keys.root(0), key.name, us, at_once, requests)) / 1000


def _read(packed: bytes) -> AccessKey:
    """A later version may store more fields."""
    known = {field.name for field in fields(AccessKey)}
    return AccessKey(**{name: value for name, value in codec.unpack(packed).items() if name in known})
