"""A network of its own for each server: namespaces at one switch, whose ways can be cut (ip-netns(8))."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.cluster_of_servers import Place
from tests.servers import missing

_SWITCH = "lw-switch"  # in a namespace: the firewall that Docker makes on the machine does not reach it
_HOST = "lw-host"


class Network:
    def __init__(self, size: int) -> None:
        self._size = size

    def make(self) -> None:
        _ip("netns", "add", _SWITCH)
        _ip("-n", _SWITCH, "link", "add", "bridge", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "bridge", "up")
        self._connect(_HOST)
        _ip("addr", "add", f"{_host(0)}/24", "dev", _HOST)
        _ip("link", "set", _HOST, "up")
        for number in range(1, self._size + 1):
            name = _name(number)
            _ip("netns", "add", name)
            self._connect(name)
            _ip("link", "set", name, "netns", name)
            _ip("-n", name, "addr", "add", f"{_host(number)}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def _connect(self, name: str) -> None:
        """A cable of this name, whose other end is in the switch."""
        _ip("link", "add", name, "type", "veth", "peer", "name", f"to-{name}", "netns", _SWITCH)
        _ip("-n", _SWITCH, "link", "set", f"to-{name}", "master", "bridge", "up")

    def remove(self) -> None:
        for number in range(1, self._size + 1):
            _ip("netns", "del", _name(number), check=False)
        _ip("netns", "del", _SWITCH, check=False)
        _ip("link", "del", _HOST, check=False)

    def places(self) -> list[Place]:
        return [Place(_host(n), ("ip", "netns", "exec", _name(n))) for n in range(1, self._size + 1)]

    def cut(self, host: str) -> None:
        """From all other servers, not from their clients."""
        self._change("add", host)

    def mend(self, host: str) -> None:
        self._change("del", host)

    def unplug(self, host: str) -> None:
        """From everybody."""
        _ip("-n", _SWITCH, "link", "set", f"to-{_name(_number(host))}", "down")

    def plug(self, host: str) -> None:
        _ip("-n", _SWITCH, "link", "set", f"to-{_name(_number(host))}", "up")

    def _change(self, what: str, host: str) -> None:
        for number in range(1, self._size + 1):
            if number != _number(host):
                _ip("-n", _name(_number(host)), "route", what, "blackhole", f"{_host(number)}/32")


@contextmanager
def network(size: int) -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing("the right to make networks (root, and ip of iproute2)")
    made = Network(size)
    made.remove()  # what a killed run has left
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def _host(number: int) -> str:
    return f"10.213.77.{number + 1}"


def _number(host: str) -> int:
    return int(host.rpartition(".")[2]) - 1


def _name(number: int) -> str:
    return f"lw-node-{number}"
