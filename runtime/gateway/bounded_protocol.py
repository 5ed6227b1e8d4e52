"""uvicorn's HTTP protocol with bounds: it closes requests that never finish, and replies that nobody reads. A
reply is one write.

uvicorn bounds the time between two requests of a connection, but not a request's own: half of one, sent and never
finished, would be held for ever. Nor does it bound how long a client takes to read its reply, or,
with httptools, how large a request's head is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_WITHIN = 20.0  # seconds from a connection, or a request's first byte, to the request's last
READ_WITHIN = 30.0  # seconds in which a client must read some of a reply that is ready
MAX_HEAD = 64 << 10  # bytes without an end of a request's head, or of what stands between parts of its body
_GATHERED = 64 << 10  # bytes that are written at once

_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class GatheringTransport:
    """What is written in one turn of the loop goes out with one call: uvicorn writes a reply's head and body apart,
    and a call costs as much as rendering a small job."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)
        self._size += len(data)
        if self._size > _GATHERED:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        unsent, self._unsent, self._size = self._unsent, [], 0
        if unsent and not self._transport.is_closing():
            self._transport.write(b"".join(unsent))


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not end in time (RFC 9110, section 15.5.9) or has a head that is too
    large (RFC 6585, section 5), or whose reply stalls."""

    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head = 0
    _is_unfinished = True  # a request: none has begun, or not all of it has come

    def connection_made(self, transport: Any) -> None:
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]
        self._start()

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._is_unfinished and self._timer is None:  # most come in one piece, and need no timer
            self._start()
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_unfinished = True

    def on_message_complete(self) -> None:
        self._head = 0
        self._is_unfinished = False
        self._end()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._end_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_unread()

    def resume_writing(self) -> None:
        self._end_unread()
        super().resume_writing()

    def _start(self) -> None:
        self._timer = self.loop.call_later(REQUEST_WITHIN, self._too_late)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self.pipeline or self.flow.read_paused:  # we do not read: it is us who are late, with the answer before
            self._start()
            return
        self._refuse(_TOO_LATE)

    def _refuse(self, reply: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(reply)
        self.transport.close()

    def _start_unread(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(READ_WITHIN, self._unread, size)

    def _end_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _unread(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:  # slow, but it reads
            self._start_unread()
        else:
            self.transport.abort()  # `close` would wait until all is read
