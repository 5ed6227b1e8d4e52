"""The worker's end of the fork server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

from runtime.jobs.failure import Crashed, ForkserverLost
from runtime.worker.processes import forkserver
from runtime.worker.processes.child_handle import ChildHandle
from runtime.worker.processes.forkserver import MESSAGE
from runtime.worker.processes.os_limits import OomKills

_GONE_WITHIN = 5.0


class Spawner:
    """Starts children; the fork server is started with the first, and again should it have ended."""

    def __init__(self) -> None:
        self._children: dict[int, ChildHandle] = {}
        self._oom_kills = OomKills()
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._forked: asyncio.Future[int] | None = None
        self._token = 0  # of the last request
        self._one_at_a_time = asyncio.Lock()

    async def fork(self) -> ChildHandle:
        """A child that has loaded nothing. Raises Crashed where none could be started."""
        async with self._one_at_a_time:
            if self._control is None:
                self._start()
            assert self._control is not None
            talk, theirs = socket.socketpair()
            output, printed = os.pipe()
            self._forked = asyncio.get_running_loop().create_future()
            self._token = (self._token + 1) % (1 << 31)
            try:
                socket.send_fds(self._control, [MESSAGE.pack(b"F", self._token, 0)], [theirs.fileno(), printed])
                pid = await self._forked
                if pid < 0:
                    raise Crashed("the system refuses to start another process")
            except BaseException as error:  # a child that is no longer wanted finds its socket closed
                talk.close()
                os.close(output)
                if isinstance(error, (BrokenPipeError, ConnectionResetError)):
                    raise ForkserverLost from None
                if isinstance(error, (OSError, Crashed)) and not isinstance(error, ForkserverLost):
                    raise Crashed(f"no process could be started: {error}") from None
                raise
            finally:
                theirs.close()
                os.close(printed)
            talk.setblocking(False)
            os.set_blocking(output, False)
            child = self._children[pid] = ChildHandle(pid, talk, output, self._signal, self._oom_kills)
            return child

    def _start(self) -> None:
        self._reap()  # the last one, should there have been one: it has ended
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            forkserver.__name__,
            str(theirs.fileno()),
            str(os.getpid()),
        ]
        self._server = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        ours.setblocking(False)
        self._control, self._heard = ours, b""
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear)

    def close(self) -> None:
        """Ends every child, and returns once nothing of them is left."""
        if self._control is not None:
            self._lost()
        self._reap()

    def kill(self) -> None:
        """Ends the fork server, and every child with it; from any thread."""
        server = self._server
        if server is not None:
            server.kill()

    def _reap(self) -> None:
        if self._server is not None:
            try:
                self._server.wait(_GONE_WITHIN)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None

    def _signal(self, pid: int, number: int) -> None:
        if self._control is None or pid not in self._children:
            return
        try:
            self._control.send(MESSAGE.pack(b"K", pid, number))
        except BlockingIOError:  # it lags behind, and has not yet reported that the child has ended
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        except OSError:
            return  # it is ending, and takes all with it

    def _hear(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._heard += data
        while len(self._heard) >= MESSAGE.size:
            kind, a, b = MESSAGE.unpack_from(self._heard)
            self._heard = self._heard[MESSAGE.size :]
            if kind == b"d":
                self._ended(a, b)
            elif a == self._token and self._forked is not None and not self._forked.done():
                self._forked.set_result(b)

    def _ended(self, pid: int, status: int) -> None:
        child = self._children.pop(pid, None)
        if child is not None:
            child.has_ended(status)

    def _lost(self) -> None:
        """The fork server has ended or is ending: its children end with it."""
        control, self._control = self._control, None
        if control is not None:
            asyncio.get_running_loop().remove_reader(control.fileno())
            control.close()
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(ForkserverLost())
        children, self._children = self._children, {}
        for child in children.values():
            child.has_ended(None)
