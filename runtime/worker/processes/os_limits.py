"""What Linux offers beyond POSIX to end, limit and count processes; elsewhere most of it does nothing."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OOM = Path("/proc/self/oom_score_adj")
_OOM_COUNTERS = (  # control groups version 2, version 1, and the machine's own
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
    Path("/proc/vmstat"),
)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with(parent: int, number: int) -> None:
    """This process gets the signal when its parent ends; ends at once where that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Processes whose parents ended below this one become its children, and not the system's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_first() -> None:
    """When memory is short, the kernel takes this process before its neighbours."""
    try:
        _OOM.write_text("800")
    except OSError:
        return


def limit_memory(octets: int) -> None:
    """A ceiling for what this process allocates: heap and private mappings (RLIMIT_DATA, Linux 4.7+)."""
    resource.setrlimit(resource.RLIMIT_DATA, (octets, octets))


def children() -> list[int]:
    """The processes whose parent this one is."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def resident() -> int:
    """Bytes of memory that this process holds."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the most it ever held: the best there is
        return peak if sys.platform == "darwin" else peak * 1024


class OomKills:
    """How often the kernel has killed in this control group, or on this machine, for want of memory."""

    def __init__(self) -> None:
        self._seen = _oom_kills()

    def increased(self) -> bool:
        """Whether there were more kills since the last call."""
        before, self._seen = self._seen, _oom_kills()
        return self._seen > before


def _oom_kills() -> int:
    for path in _OOM_COUNTERS:
        try:
            lines = [line.split() for line in path.read_text().splitlines()]
        except OSError:
            continue
        return sum(int(line[1]) for line in lines if line[0] == "oom_kill")
    return 0
