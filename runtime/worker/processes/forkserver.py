"""The process that forks children: it has no threads and no running loop, and holds what all of them import.

It hears requests on a socket from the worker, and says when a child has been forked and when one has ended.
Whoever ends takes its process group along, and when the worker is gone, everybody goes.

    F token 0  and two descriptors: fork a child on this socket, with this standard output
                                                              -> f token pid, -1 where the system refused
    K pid n    send a child a signal; SIGKILL goes to its whole group
                                                                                   a child ended: d pid status
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
from types import FrameType

from runtime.worker.processes import child, os_limits

MESSAGE = struct.Struct("!cIi")


class Forkserver:
    """One loop: requests, and children that ended."""

    def __init__(self, control: socket.socket, worker: int) -> None:
        self._control = control
        self._worker = worker
        self._children: set[int] = set()
        self._requests = b""
        self._wake, self._woken = socket.socketpair()
        self._going = False

    def run(self) -> None:
        """Until the worker is gone."""
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._go)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os_limits.die_with(self._worker, signal.SIGTERM)
        os_limits.adopt_orphans()
        try:
            while not self._going:
                ready, _, _ = select.select([self._control, self._wake], [], [])
                if self._wake in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._reap()
                if self._control in ready and not self._hear():
                    return
        finally:
            while pids := {*self._children, *os_limits.children()}:
                for pid in pids:
                    self._kill(pid, signal.SIGKILL)
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, 0)  # in a container no init process does
                    self._children.discard(pid)  # what it has orphaned is ours now: the next turn's

    def _go(self, number: int, frame: FrameType | None) -> None:
        self._going = True

    def _hear(self) -> bool:
        """Whether the worker is still there."""
        data, fds, _, _ = socket.recv_fds(self._control, 4096, 2)
        if not data:
            return False
        self._requests += data
        while len(self._requests) >= MESSAGE.size:
            kind, a, b = MESSAGE.unpack_from(self._requests)
            self._requests = self._requests[MESSAGE.size :]
            if kind == b"F" and len(fds) == 2:
                self._fork(a, fds)
            elif kind == b"F":  # as many descriptors are open as the system allows
                self._say(b"f", a, -1)
            elif a in self._children:
                self._kill(a, b)
        return True

    def _fork(self, token: int, fds: list[int]) -> None:
        here = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # as many processes as the system allows
            pid = -1
        if pid == 0:
            code = 1
            try:
                for end in (self._wake, self._woken, self._control):
                    end.close()
                signal.set_wakeup_fd(-1)
                child.main(here, *fds)
                code = 0
            finally:
                os._exit(code)  # never back into the fork server's own code, which would kill its children
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self._children.add(pid)
        self._say(b"f", token, pid)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # until it is reaped, its pid and its group's id cannot be reused
            self._kill(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            # a living child keeps what its handlers start; what came to us was left by one that has ended
            for orphan in set(os_limits.children()) - self._children - {ended.si_pid}:
                self._kill(orphan, signal.SIGKILL)
            if ended.si_pid in self._children:
                self._children.discard(ended.si_pid)
                self._say(b"d", ended.si_pid, status)

    def _kill(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            os.kill(pid, number)

    def _say(self, kind: bytes, a: int, b: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(MESSAGE.pack(kind, a, b))


def main() -> None:
    """`python -m runtime.worker.processes.forkserver FD WORKER_PID`"""
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.collect()
    gc.freeze()  # the collector would write to pages that children share
    Forkserver(control, int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
