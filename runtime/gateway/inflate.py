"""A body's bytes as they come, without their `Content-Encoding`."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.requests import ClientDisconnect, Request

from runtime.gateway import requests
from runtime.gateway.problems import BadRequest

_PIECE = 1 << 18


async def inflated(request: Request) -> AsyncIterator[bytes]:
    """The body's bytes, without their `Content-Encoding`. Raises BadRequest: 400, 415."""
    coding = requests.header(request, b"content-encoding").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise BadRequest(415, "encoding-unknown", "Content-Encoding is gzip, or none")
    gzip = _Gzip() if coding == "gzip" else None
    async for chunk in _chunks(request):
        if gzip is None:
            yield chunk
            continue
        for piece in gzip.inflate(chunk):
            yield piece
    if gzip is not None:
        gzip.end()


class _Gzip:
    """Members of gzip, one or several (RFC 1952, section 2.2), as they come. Raises BadRequest: 400."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        """In pieces: a small chunk may become a thousand times as large."""
        unfinished = True
        while unfinished:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            try:
                piece = self._member.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise BadRequest(400, "bad-encoding", f"the body is not gzip: {error}") from None
            yield piece
            chunk = self._member.unconsumed_tail or self._member.unused_data
            unfinished = bool(chunk) or (len(piece) == _PIECE and not self._member.eof)

    def end(self) -> None:
        if not self._member.eof:
            raise BadRequest(400, "bad-encoding", "the body is not gzip: it ends too early")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if body := message.get("body", b""):
            yield body
        more = message.get("more_body", False)
