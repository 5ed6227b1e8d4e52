"""uvicorn's HTTP protocol with bounds: it closes requests that never finish, and replies that nobody reads.

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
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not end in time (RFC 9110, section 15.5.9) or has a head that is too
    large (RFC 6585, section 5), or whose reply stalls."""

    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
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
        if self._timer is None:
            self._start()

    def on_message_complete(self) -> None:
        self._head = 0
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
