"""One child, as its worker sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import msgpack

from runtime.jobs.failure import Crashed, ForkserverLost, OutOfMemory
from runtime.worker.processes.os_limits import OomKills
from runtime.worker.processes.output import Output

_CHUNK = 1 << 18


class _Garbled(Exception):
    """Somebody else wrote to the child's socket, or it was cut in the middle of a message."""


class ChildHandle:
    """A process that answers one request at a time; `ended` is set once it is gone."""

    def __init__(
        self, pid: int, talk: socket.socket, output: int, send: Callable[[int, int], None], oom_kills: OomKills
    ) -> None:
        """`output`: what it prints can be read there. `send`: gives a process a signal."""
        self.pid = pid
        self.output = Output(output, asyncio.get_running_loop())
        self.key: tuple[str, str] | None = None  # the function and the version that it has loaded
        self.memory: int | None = None
        self.attempts = 0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._talk, self._send = talk, send
        self._unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
        self.answer: list[Any] | None = None
        self._kinds: tuple[str, ...] = ()
        self.terminated = False
        self._waiter: asyncio.Future[None] | None = None
        self._cause: Exception | None = None
        self._oom_kills = oom_kills
        self._killed = False
        self._loop.add_reader(talk.fileno(), self._hear)

    async def ask(self, kinds: tuple[str, ...], *message: Any) -> list[Any]:
        """Its answer, of one of these kinds. Raises Crashed or OutOfMemory where it ends without one."""
        self.answer = None
        self._kinds = kinds
        if self._cause is not None:
            raise self._cause
        packed: bytes = msgpack.packb(message)
        with contextlib.suppress(OSError):  # it is ending; its end is reported separately
            try:
                sent = self._talk.send(packed)
            except BlockingIOError:
                sent = 0
            if sent < len(packed):
                await self._loop.sock_sendall(self._talk, memoryview(packed)[sent:])
        return await self.answered()

    async def answered(self) -> list[Any]:
        """The answer to the last request; a cancelled caller may wait again. Raises as `ask`."""
        if self.answer is None and self._cause is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.answer is not None:
            return self.answer
        assert self._cause is not None
        raise self._cause

    def terminate(self) -> None:
        """Asks it to stop what it does (SIGTERM)."""
        self.terminated = True
        self._send(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and everything it started (SIGKILL)."""
        self._killed = True
        self._send(self.pid, signal.SIGKILL)

    def has_ended(self, status: int | None) -> None:
        """`status`: as waitpid(2) gives it; None if it is unknown."""
        if self.ended.done():
            return
        self._cause = self._why(status)
        try:
            self._hear()
            self.output.end()
        finally:  # its last message may be garbled; it has ended, and a caller waits for that
            self._loop.remove_reader(self._talk.fileno())
            self._talk.close()
            self.output.close()
            self.ended.set_result(None)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _why(self, status: int | None) -> Exception:
        if status is None:
            return ForkserverLost()
        if not os.WIFSIGNALED(status):
            return Crashed(f"its process exited with status {os.waitstatus_to_exitcode(status)}")
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and self._oom_kills.increased() and not self._killed:
            return OutOfMemory(None)
        ceiling = "" if self.memory is None else "; it may have met its memory ceiling"
        hint = ceiling if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS) else ""
        return Crashed(f"its process was killed by {_signal_name(number)}{hint}")

    def _hear(self) -> None:
        while True:
            try:
                data = self._talk.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._talk.fileno())
                return
            self._unpacker.feed(data)
            try:
                for message in self._unpacker:
                    self._heard(message)
            except (ValueError, msgpack.UnpackException, _Garbled):
                self.kill()
                return
            if len(data) < _CHUNK:
                return

    def _heard(self, message: list[Any]) -> None:
        kind = message[0] if isinstance(message, list) and message else None
        if kind == "progress" and len(message) == 2:
            if self.output.sink is not None:
                self.output.sink.progress(message[1])
        elif kind == "emit" and len(message) == 2 and isinstance(message[1], bytes):
            if self.output.sink is not None:
                self.output.sink.emit(message[1])
        elif kind == "log" and len(message) == 4:
            self.output.logged(*message[1:])
        elif kind in self._kinds and self.answer is None:
            self.output.read()  # what it printed before it answered is of this attempt
            self.answer = message
            self._wake()
        else:
            raise _Garbled


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
