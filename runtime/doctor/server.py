"""What may be wrong with the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from runtime.doctor.finding import Finding
from runtime.store.checkup import Checkup

_FULL = 0.8  # of the memory that it may use
_CLOCKS = 1000  # ms
_LISTPACK = 512  # bytes of a value up to which a job's record stays compact


def of_settings(checkup: Checkup) -> Iterator[Finding]:
    for name, (theirs, mine) in checkup.differs.items():
        yield Finding(
            "settings-differ",
            "error",
            f"LANEWORK_{name.upper()} is {mine} here, and {theirs} where jobs are stored",
            f"give every process LANEWORK_{name.upper()}={theirs}",
        )


def of_server(checkup: Checkup) -> Iterator[Finding]:
    for finding in _of_server(checkup):
        yield replace(finding, what=f"{checkup.address}: {finding.what}") if checkup.address else finding


def _of_server(checkup: Checkup) -> Iterator[Finding]:
    if checkup.away:
        yield Finding(
            "node-away",
            "error",
            f"this primary of the cluster does not answer ({checkup.away}): the jobs of its shards wait",
            "start it, or let a replica take its place; the rest is looked at once it is there",
        )
        return
    if checkup.unsupported is not None:
        yield Finding("server-too-old", "error", checkup.unsupported, "run a newer server")
    yield from _memory(checkup)
    yield from _log(checkup)
    if abs(checkup.ahead) - checkup.uncertain > _CLOCKS:
        direction = "ahead of" if checkup.ahead > 0 else "behind"
        yield Finding(
            "clocks-differ",
            "warning",
            f"Redis' clock is {abs(checkup.ahead) / 1000:.1f} s {direction} this machine's",
            "set both by NTP: times that programs name are compared with Redis' clock",
        )
    if not checkup.configuration:
        yield Finding(
            "configuration-hidden",
            "warning",
            "the server does not show its configuration (CONFIG GET)",
            "see to it that maxmemory-policy is noeviction, appendonly yes, and appendfsync everysec or always",
        )


def _memory(checkup: Checkup) -> Iterator[Finding]:
    server = checkup.server
    policy = checkup.configuration.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "server-evicts",
            "error",
            f"maxmemory-policy is {policy}: when memory is short, the server drops jobs",
            "set maxmemory-policy noeviction",
            ("maxmemory-policy", "noeviction"),
        )
    if not server.memory_limit:
        yield Finding(
            "memory-unlimited",
            "warning",
            "maxmemory is not set: when memory is short, the system kills the server",
            "set maxmemory to half of what the machine or the container has",
        )
    elif server.memory_used > _FULL * server.memory_limit:
        used, limit = server.memory_used >> 20, server.memory_limit >> 20
        yield Finding(
            "memory-short",
            "error",
            f"the server uses {used} of {limit} MiB; when none is left, no job is stored",
            "raise maxmemory, keep settled jobs for a shorter time (LANEWORK_KEEP), or have a history",
        )
    listpack = checkup.configuration.get("hash-max-listpack-value", str(_LISTPACK))
    if int(listpack) < _LISTPACK:
        yield Finding(
            "records-large",
            "warning",
            f"hash-max-listpack-value is {listpack}: records of jobs take several times the memory",
            f"set hash-max-listpack-value {_LISTPACK}",
            ("hash-max-listpack-value", str(_LISTPACK)),
        )


def _log(checkup: Checkup) -> Iterator[Finding]:
    server = checkup.server
    if not server.keeps_log:
        yield Finding(
            "log-off",
            "error",
            "the server keeps no append-only file: what it holds is lost when it stops",
            "set appendonly yes",
            ("appendonly", "yes"),
        )
    elif not server.writes_log:
        yield Finding(
            "log-unwritten",
            "error",
            "the server could not write its append-only file, or not rewrite it",
            "see redis-cli INFO persistence and the server's log; free the disk, then redis-cli BGREWRITEAOF",
        )
    if checkup.configuration.get("appendfsync") == "no":
        yield Finding(
            "log-unsynced",
            "error",
            "appendfsync is no: a crash of the machine loses up to half a minute of jobs",
            "set appendfsync everysec",
            ("appendfsync", "everysec"),
        )
