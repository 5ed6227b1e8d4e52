"""A cluster of real servers on this machine: three primaries and three replicas."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS

from runtime.store import embedded
from tests.servers import DEADLINE, free_port, until

PRIMARIES = 3
_NODE_TIMEOUT = 2000  # ms of silence after which a node counts as failed


class Place(NamedTuple):
    """Where a server runs: its address, and what its command begins with."""

    host: str = "127.0.0.1"
    command: tuple[str, ...] = ()


class Node:
    """One server."""

    def __init__(self, place: Place, binary: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.host, self.port = place.host, _port()
        self._command = [
            *place.command,
            binary,
            "--port",
            str(self.port),
            "--bind",
            self.host,
            "--dir",
            str(folder),
        ]
        self._command += ["--cluster-enabled", "yes", "--cluster-node-timeout", str(_NODE_TIMEOUT)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        self._command += ["--loglevel", "warning", "--repl-diskless-sync-delay", "0", "--protected-mode", "no"]
        self.client = redis.Redis(self.host, self.port, socket_timeout=5)
        self.process: subprocess.Popen[bytes] | None = None
        self.epoch = 0

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until(self._answers, "a node of the cluster")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.BusyLoadingError:
            return False
        except redis.ConnectionError:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError("the node has ended") from None
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE)
            self.process = None
        self.client.close()

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def id(self) -> str:
        return _text(self.client.execute_command("CLUSTER", "MYID"))

    @property
    def is_primary(self) -> bool:
        return _text(self.client.execute_command("ROLE")[0]) == "master"

    @property
    def follows(self) -> int | None:
        """The port of its primary; None of a primary."""
        role = self.client.execute_command("ROLE")
        return int(role[2]) if _text(role[0]) == "slave" else None

    def served(self) -> set[int]:
        """The slots that it serves as a primary; none where it does not answer."""
        try:
            for line in _text(_raw(self, "CLUSTER", "NODES")).splitlines():
                _id, _address, flags, _primary, _sent, _heard, epoch, _link, *ranges = line.split()
                if "myself" in flags and "master" in flags:
                    self.epoch = int(epoch)
                    whole = [part.partition("-") for part in ranges if not part.startswith("[")]
                    return {slot for a, _, b in whole for slot in range(int(a), int(b or a) + 1)}
        except redis.RedisError:
            pass
        return set()


class ClusterOfServers:
    def __init__(self, folder: Path, places: Sequence[Place], binary: str | None) -> None:
        binary = binary or str(embedded.binary())
        self.nodes = [Node(place, binary, folder / f"node-{number}") for number, place in enumerate(places)]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{node.host}:{node.port}' for node in self.nodes)}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        for other in others:
            other.client.execute_command("CLUSTER", "MEET", first.host, first.port)
        for number, primary in enumerate(self.nodes[:PRIMARIES]):
            begin, end = (SLOTS * n // PRIMARIES for n in (number, number + 1))
            primary.client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        until(
            lambda: all(self._known(node) == len(self.nodes) for node in self.nodes), "nodes that know each other"
        )
        for number, replica in enumerate(self.nodes[PRIMARIES:]):
            replica.client.execute_command("CLUSTER", "REPLICATE", self.nodes[number % PRIMARIES].id)
        self.await_whole()

    def await_whole(self) -> None:
        """Until all nodes that run agree that all slots are served, and every replica follows its primary."""
        until(self._is_whole, "a whole cluster", within=30)

    def _is_whole(self) -> bool:
        for node in self.nodes:
            if not node.alive:
                continue
            try:
                if "cluster_state:ok" not in _text(_raw(node, "CLUSTER", "INFO")):
                    return False
                replication = node.client.info("replication")
                if replication["role"] == "slave" and replication["master_link_status"] != "up":
                    return False
            except redis.RedisError:
                return False
        return True

    def _known(self, node: Node) -> int:
        return len(_text(_raw(node, "CLUSTER", "NODES")).splitlines())

    def primary_of(self, slot: int) -> Node | None:
        """Of several that say so, the one that was elected last."""
        found = [node for node in self.nodes if node.alive and slot in node.served()]
        return max(found, key=lambda node: node.epoch, default=None)

    def move_key_by_key(self, slot: int, source: Node, target: Node, between: Callable[[], None]) -> int:
        """As `redis-cli --cluster reshard` does (Redis Cluster specification, "Live resharding"); how many keys.

        `between` is called once when half of them have been moved.
        """
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        moved, half = 0, source.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) // 2
        while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 20):
            source.client.execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
            if moved <= half < moved + len(keys):
                between()
            moved += len(keys)
        for node in (target, source, *self.nodes):
            if node.is_primary:
                node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        return moved

    def move_at_once(self, slot: int, source: Node, target: Node) -> None:
        """As Valkey 9 does it itself (CLUSTER MIGRATESLOTS)."""
        source.client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        until(lambda: slot in target.served(), "end of the migration")

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


@contextmanager
def cluster_of_servers(
    folder: Path, places: Sequence[Place] = (Place(),) * (2 * PRIMARIES), binary: str | None = None
) -> Iterator[ClusterOfServers]:
    """Started, and whole."""
    cluster = ClusterOfServers(folder, places, binary)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _raw(node: Node, *command: str) -> Any:
    """The answer as it comes, which redis-py would take apart; within a moment, or redis-py's TimeoutError."""
    connection = redis.Connection(node.host, node.port, socket_timeout=0.3)
    try:
        connection.connect()
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _port() -> int:
    """One whose neighbour on the bus, 10,000 above, is free too."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if (port := free_port()) < 55_000:
            return port
    raise AssertionError("no free port below 55000")
