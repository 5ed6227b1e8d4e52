"""A client of Redis for threads: of one server, of the primary that sentinels name, or of a cluster's primaries."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from runtime.settings import Settings
from runtime.store.address import Address
from runtime.store.connect import TIMEOUT, translated

# somebody else may have the slot now
_ELSEWHERE = (
    exceptions.AskError,
    exceptions.ClusterDownError,
    exceptions.ConnectionError,
    exceptions.MovedError,
    exceptions.TimeoutError,
)


class ThreadClient:
    """Connects with the first call."""

    def __init__(self, settings: Settings) -> None:
        self._address = Address.of(settings.redis_url)
        self._options: dict[str, Any] = {
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "client_name": "lanework",
            "protocol": 2,
            **self._address.options,
        }
        self._one: redis.Redis | None = None
        self._sentinels: list[redis.Redis] = []
        self._nodes: dict[tuple[str, int], redis.Redis] = {}  # of a cluster
        self._slots: dict[tuple[int, int], tuple[str, int]] = {}
        self._stale = False
        self._connecting = threading.Lock()

    @contextmanager
    def at(self, key: str) -> Iterator[redis.Redis]:
        """The server that has this key, for all calls about its shard. Raises StoreError, also for such calls."""
        with translated():
            try:
                yield self._of_cluster(key) if self._address.kind == "cluster" else self._server()
            except _ELSEWHERE:
                self._stale = True
                raise

    @property
    def is_cluster(self) -> bool:
        """Whether one of its servers may be away while the others are there."""
        return self._address.kind == "cluster"

    def _server(self) -> redis.Redis:
        with self._connecting:
            if self._one is None:
                self._one = redis.Redis.from_pool(self._pool())
            return self._one

    def _pool(self) -> redis.ConnectionPool:
        address, options = self._address, {**self._options, "retry": Retry(NoBackoff(), 0)}
        if address.kind == "server":
            return redis.ConnectionPool.from_url(address.url, **options)
        own = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, **address.sentinel_options}
        own["retry"] = Retry(NoBackoff(), 0)  # the next one is asked instead
        sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        self._sentinels = sentinel.sentinels
        pool: redis.ConnectionPool = SentinelConnectionPool(address.service, sentinel, **options)  # type: ignore[no-untyped-call]
        return pool

    def _of_cluster(self, key: str) -> redis.Redis:
        slot = key_slot(key.encode())
        with self._connecting:
            if self._stale or not self._slots:
                self._look()
            for (first, last), host in self._slots.items():
                if first <= slot <= last:
                    return self._node(*host)
        raise exceptions.ClusterDownError("no node of the cluster has this shard")

    def _look(self) -> None:
        """Who has which slots, from the first node that answers."""
        error: Exception | None = None
        for host in dict.fromkeys((*self._slots.values(), *self._nodes, *self._address.hosts)):
            try:
                node: Any = self._node(*host)
                answer = node.execute_command("CLUSTER", "SLOTS")  # in two words it comes as it is
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as away:
                error = away
                continue
            self._slots = {
                (first, last): (name.decode() if name else host[0], int(port))
                for first, last, (name, port, *_id), *_replicas in answer
            }
            self._stale = False
            return
        raise error or exceptions.ConnectionError("no node of the cluster is known")

    def _node(self, host: str, port: int) -> redis.Redis:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = redis.Redis(host, port, retry=Retry(NoBackoff(), 0), **self._options)
        return node

    def close(self) -> None:
        for client in (self._one, *self._nodes.values(), *self._sentinels):
            if client is not None:
                client.close()
