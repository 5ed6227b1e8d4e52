"""What can be wrong with a server and what it holds; for `lanework doctor`."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from runtime.settings import Settings
from runtime.store.connect import AWAY, Redis, ServerClient, members, servers, translated
from runtime.store.keys import GROUP, HELD, Keys
from runtime.store.server import Server
from runtime.store.server_check import agreed, unsupported
from runtime.values.clock import now_ms

CONFIGURATION = ("maxmemory-policy", "appendonly", "appendfsync", "hash-max-listpack-value")
KEYS_READ = 200_000
_PART = 1000


class Overdue(NamedTuple):
    """Attempts in one lane that nobody has renewed for `seconds`, the longest of them."""

    function: str
    lane: str
    attempts: int
    seconds: float


class Strays(NamedTuple):
    """Keys below the prefix: `unknown` have a name that is none of ours, `endless` should have a TTL and have none.
    `partial`: whether there are more keys than were looked at."""

    unknown: list[str]
    endless: list[str]
    partial: bool


@dataclass(frozen=True, slots=True)
class Checkup:
    """`address`: the server's, where there are several. `unsupported`: why it cannot serve at all.
    `configuration`: its parameters by name; none where it
    does not show them. `ahead`: ms by which its clock is ahead of this machine's; `uncertain`: by how much that may
    be wrong. `differs`: settings that others agreed on and this process has otherwise: (theirs, mine) by name.
    `away`: why it does not answer; nothing else is known of it then."""

    address: str
    server: Server
    unsupported: str | None
    configuration: Mapping[str, str]
    ahead: float
    uncertain: float
    differs: Mapping[str, tuple[str, str]]
    away: str = ""


async def examine(client: Redis, settings: Settings) -> list[Checkup]:
    """Of the server, or of each of a cluster's primaries. Raises StoreUnavailable."""
    with translated():
        try:
            stored: Any = await client.hgetall(Keys(settings.prefix).config)
        except AWAY:
            if len(await servers(client)) == 1:
                raise
            stored = {}  # the node that has them is away, which it is told below
        theirs = {name.decode(): value.decode() for name, value in stored.items()}
        differs = {n: (theirs[n], mine) for n, mine in agreed(settings).items() if theirs.get(n, mine) != mine}
        return [await _examine_if_there(server, differs) for server in await servers(client)]


async def _examine_if_there(server: ServerClient, differs: Mapping[str, tuple[str, str]]) -> Checkup:
    """Raises redis-py's errors where it is the only server."""
    try:
        return await _examine(server, differs)
    except AWAY as error:
        if not server.address:
            raise
        unknown = Server(0, 0, keeps_log=True, writes_log=True)
        return Checkup(
            server.address, unknown, None, {}, 0.0, 0.0, differs, away=str(error) or type(error).__name__
        )


async def _examine(server: ServerClient, differs: Mapping[str, tuple[str, str]]) -> Checkup:
    before = now_ms()
    seconds, micros = await server.ask("TIME")
    after = now_ms()
    info: dict[str, Any] = {}
    for section in ("server", "memory", "persistence"):
        info |= await server.ask("INFO", section)
    ahead = int(seconds) * 1000 + int(micros) / 1000 - (before + after) / 2
    uncertain = (after - before) / 2 + 1
    configuration = await _configuration(server)
    return Checkup(server.address, Server.of(info), unsupported(info), configuration, ahead, uncertain, differs)


async def _configuration(server: ServerClient) -> dict[str, str]:
    try:
        found: dict[Any, Any] = await server.ask("CONFIG GET", *CONFIGURATION)
    except ResponseError:  # a server of a provider that does not show it, or a user who may not ask
        return {}
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def configure(client: Redis, name: str, value: str) -> str | None:
    """Sets a parameter of the server, or of each primary, in its file too where it has one. Returns why that was
    refused."""
    with translated():
        for server in await servers(client):
            try:
                await server.ask("CONFIG SET", name, value)
            except ResponseError as error:
                return str(error)
            with contextlib.suppress(ResponseError):  # it was started without a file
                await server.ask("CONFIG REWRITE")
    return None


async def overdue(client: Redis, settings: Settings) -> list[Overdue]:
    """What no worker has renewed for three leases, nor taken over. Up to 1,000 of each lane."""
    keys = Keys(settings.prefix)
    least = int(3 * settings.lease * 1000)
    found = []
    for shard in range(settings.shards):
        names = await members(client, keys.lanes(shard))
        with translated():
            async with client.pipeline(transaction=False) as pipe:
                for name in names:
                    function, _, lane = name.partition(":")
                    key = keys.lane(shard, function, lane)
                    pipe.xpending_range(key, GROUP, "-", "+", _PART, HELD, idle=least)
                replies = await pipe.execute(raise_on_error=False)  # a lane that no worker has read has no group
        for name, rows in zip(names, replies, strict=True):
            if rows and not isinstance(rows, Exception):
                function, _, lane = name.partition(":")
                longest = max(row["time_since_delivered"] for row in rows)
                found.append(Overdue(function, lane, len(rows), longest / 1000))
    return found


async def strays(client: Redis, settings: Settings) -> Strays:
    """Looks at 200,000 keys at most."""
    keys = Keys(settings.prefix)
    permanent, passing = _compiled(keys.permanent()), _compiled(keys.passing())
    unknown: list[str] = []
    endless: list[str] = []
    read = 0
    with translated():
        async for names in _pages(client.scan_iter(f"{keys.prefix}:*", count=_PART)):
            maybe = [name for name in names if not permanent(name) and passing(name)]
            unknown += [name for name in names if not permanent(name) and not passing(name)]
            async with client.pipeline(transaction=False) as pipe:
                for name in maybe:
                    pipe.ttl(name)
                ttls = await pipe.execute()
            endless += [name for name, ttl in zip(maybe, ttls, strict=True) if ttl == -1 and ":job:" not in name]
            read += len(names)
            if read >= KEYS_READ:
                break
    return Strays(sorted(unknown), sorted(endless), read >= KEYS_READ)


async def _pages(found: AsyncIterator[bytes]) -> AsyncIterator[list[str]]:
    page: list[str] = []
    async for name in found:
        page.append(name.decode(errors="replace"))
        if len(page) == _PART:
            yield page
            page = []
    yield page


def _compiled(patterns: tuple[str, ...]) -> Any:
    """Whether a name fits one of the patterns."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
