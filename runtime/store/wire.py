"""A connection that tasks share; answers come in the order of the calls.

redis-py keeps a connection for each call under way, and a call through its pool costs three times what one
costs here. It still makes the connection: address, TLS, password, database and name are its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis import exceptions

Argument = str | bytes | int | float
Command = tuple[Argument, ...]


pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]


class _Call:
    """Commands sent together, and the answers so far."""

    __slots__ = ("answered", "deadline", "replies", "want")

    def __init__(self, want: int, answered: asyncio.Future[list[Any]], deadline: float) -> None:
        self.want = want
        self.answered = answered
        self.deadline = deadline
        self.replies: list[Any] = []


class Wire(asyncio.Protocol):
    """Connects with the first call, and again with the first call after the connection was lost."""

    def __init__(self, make_connection: Callable[[], Any], timeout: float, *, gathers: bool = False) -> None:
        """`make_connection`: gives a connection of redis-py's, not open yet.

        `timeout`: seconds for a call that does not say; connecting counts. `gathers`: whether what is sent in
        one turn of the loop goes out with one write, at its end. A write costs more than the rest of a call, but
        where the rest of the turn is long, as with a worker's handlers, the server would wait for it."""
        self._make_connection = make_connection
        self._timeout = timeout
        self._gathers = gathers
        self._waiting: deque[_Call] = deque()
        self._connection: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] = []

    async def execute_command(self, *command: Argument) -> Any:
        """One command's answer. Raises redis-py's errors."""
        (reply,) = await self.call(command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call(self, *commands: Command, timeout: float | None = None) -> list[Any]:
        """The answers to commands sent together; the server's refusals are among them as errors.

        Raises ConnectionError (of redis-py) where the connection is lost meanwhile, and TimeoutError
        (likewise) after `timeout` seconds. Either fails every call that waits: their answers come in turn.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout if timeout is None else timeout)
        if self._transport is None:
            await self._connect(deadline)
        call = _Call(len(commands), loop.create_future(), deadline)
        self._waiting.append(call)
        self._watch(loop, deadline)
        packed = [pack(command) for command in commands]
        if not self._gathers:
            self._transport.write(b"".join(packed))
            return await call.answered
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent += packed
        return await call.answered

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent:  # else the connection was lost meanwhile
            self._transport.write(b"".join(unsent))

    def close(self) -> None:
        """Fails what waits. The next call would connect again."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._drop(exceptions.ConnectionError("the connection was closed"))

    async def _connect(self, deadline: float) -> None:
        """One attempt for all that call meanwhile."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._open())
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(self._connecting)
        except TimeoutError:
            raise exceptions.TimeoutError("Timeout connecting to server") from None
        if self._transport is None:
            raise exceptions.ConnectionError("the connection was lost at once")

    async def _open(self) -> None:
        connection = self._make_connection()
        try:
            await connection.connect()
            # redis-py offers no way to take a connection over: its writer is private to it
            transport = connection._writer.transport
            transport.set_protocol(self)
            self._parser = hiredis.Reader(
                protocolError=exceptions.InvalidResponse, replyError=connection._parser.parse_error
            )
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection, self._transport = connection, transport

    def data_received(self, data: bytes) -> None:
        is_replica = False
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not False:
                call = self._waiting[0]
                call.replies.append(reply)
                is_replica |= isinstance(reply, exceptions.ReadOnlyError)
                if len(call.replies) == call.want:
                    self._waiting.popleft()
                    if not call.answered.done():  # else its caller has gone
                        call.answered.set_result(call.replies)
        except (exceptions.InvalidResponse, IndexError) as error:
            self._drop(exceptions.ConnectionError(f"the server does not speak Redis' protocol: {error}"))
        if is_replica:  # sentinels may name another primary by now
            self._drop(exceptions.ConnectionError("the server is a replica now"))

    def connection_lost(self, error: Exception | None) -> None:
        self._drop(exceptions.ConnectionError(f"the connection was lost: {error or 'closed by the server'}"))

    def _watch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Looks again at the deadline, or before: a timer for each call would cost as much as the call."""
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(deadline, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        # one whose caller has gone waits for its turn alone
        if deadlines := [call.deadline for call in self._waiting if not call.answered.done()]:
            first = min(deadlines)
            if first <= loop.time():
                self._drop(exceptions.TimeoutError("Timeout reading from server"))
            else:
                self._watch(loop, first)

    def _drop(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        connection, self._connection = self._connection, None
        waiting, self._waiting = self._waiting, deque()
        self._unsent = []
        if transport is not None:
            transport.abort()
        if connection is not None:
            connection._close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for call in waiting:
            if not call.answered.done():
                call.answered.set_exception(error)
