"""Where the servers are: what `LANEWORK_REDIS_URL` says of one server, a cluster, or sentinels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import parse_url

from runtime.errors import SettingsInvalid

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
_OF_SENTINELS = ("sentinel_username", "sentinel_password")
_OF_THE_URL = {"host", "port", "path", "db", "username", "password", "connection_class"}
_PORTS = {"cluster": 6379, "sentinel": 26379}


class Address(NamedTuple):
    """`url`: of one server, which says all. `hosts`: nodes of the cluster, or sentinels; `options`: what redis-py's
    connections are made with. `service`: the name under which sentinels know the primary; `sentinel_options`: what
    theirs are made with."""

    kind: Literal["server", "cluster", "sentinel"]
    url: str = ""
    hosts: list[tuple[str, int]] = []  # noqa: RUF012 (never changed)
    options: dict[str, Any] = {}  # noqa: RUF012 (likewise)
    service: str = ""
    sentinel_options: dict[str, Any] = {}  # noqa: RUF012 (likewise)

    @classmethod
    def of(cls, url: str) -> Address:
        """`redis://`, `unix://`; `redis+cluster://HOST:PORT,HOST:PORT`; `redis+sentinel://HOST:PORT,…/SERVICE/DB`;
        `rediss` for TLS. The query has redis-py's options, such as `ssl_ca_certs`. Raises SettingsInvalid."""
        scheme, found, rest = url.partition("://")
        if not found or scheme not in SCHEMES:
            raise SettingsInvalid(f"REDIS_URL begins with one of: {', '.join(f'{s}://' for s in SCHEMES)}")
        base, _, kind = scheme.partition("+")
        try:
            if kind == "cluster":
                return _cluster(base, rest)
            if kind == "sentinel":
                return _sentinel(base, rest)
            _check(parse_url(url), base == "rediss")
            return cls("server", url)
        except _Wrong as error:
            raise SettingsInvalid(f"REDIS_URL: {error}") from None
        except ValueError:  # whose text may have a part of the password
            what = "is no URL; what is special in a password is percent-encoded, and a port is a number below 65536"
            raise SettingsInvalid(f"REDIS_URL {what}") from None


def _check(options: Mapping[str, Any], is_secure: bool, more: Collection[str] = ()) -> None:
    """Raises ValueError for an option that would be misunderstood, by redis-py or by whoever wrote it."""
    allowed = {*_TLS, *more}
    for name in options.keys() - _OF_THE_URL:
        if name not in allowed:
            raise _Wrong(f"{name} is none of the options that it may have: {', '.join(sorted(allowed))}")
        if name in _TLS and not is_secure:
            raise _Wrong(f"{name} is for TLS: rediss://")


class _Wrong(ValueError):
    """With a text that may be shown."""


def _cluster(base: str, rest: str) -> Address:
    user, hosts, path, query = _parts(rest, _PORTS["cluster"])
    if path.strip("/") not in ("", "0"):
        raise _Wrong("a cluster has no databases: no path behind its hosts")
    return Address("cluster", hosts=hosts, options=_options(base, user, "", query))


def _sentinel(base: str, rest: str) -> Address:
    user, hosts, path, query = _parts(rest, _PORTS["sentinel"])
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise _Wrong("the name of the primary comes behind the sentinels: redis+sentinel://HOST:26379/NAME")
    if database and not database.isdecimal():
        raise _Wrong("a database is a number")
    options = _options(base, user, database, query, _OF_SENTINELS)
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in [*options] if name.startswith("sentinel_")}
    tls = {name: value for name, value in options.items() if name == "ssl" or name.startswith("ssl_")}
    return Address("sentinel", "", hosts, options, service, {**tls, **own})


def _parts(rest: str, port: int) -> tuple[str, list[tuple[str, int]], str, str]:
    """User with password, hosts, path and query."""
    parts = urlsplit(f"//{rest}")
    user, _, named = parts.netloc.rpartition("@")
    hosts = []
    for name in named.split(","):
        one = urlsplit(f"//{name.strip()}")
        if not one.hostname:
            raise _Wrong("hosts are named HOST:PORT, with commas between them")
        hosts.append((one.hostname, port if one.port is None else one.port))
    return user, hosts, parts.path, parts.query


def _options(base: str, user: str, database: str, query: str, more: Collection[str] = ()) -> dict[str, Any]:
    url = f"{base}://{f'{user}@' if user else ''}host/{database}{f'?{query}' if query else ''}"
    options = dict(parse_url(url))
    if parse_qs(query).keys() & _OF_THE_URL:
        raise _Wrong("host, port and database do not stand in the query")
    _check(options, base == "rediss", more)
    for name in ("host", "port"):
        options.pop(name, None)
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return options
