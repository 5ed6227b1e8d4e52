"""The API described: `/openapi.json`, and the page that shows it, whose files come out of the package."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.errors import StoreError
from runtime.gateway import requests
from runtime.gateway.access.caller import CALLER
from runtime.gateway.endpoint import Paths
from runtime.gateway.openapi.document import build
from runtime.gateway.openapi.paths import PAGE_FILES
from runtime.gateway.problems import BadRequest, rendered_reply
from runtime.gateway.replies import matches
from runtime.store.registry import Deployed
from runtime.values import codec

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _Document(NamedTuple):
    functions: dict[str, Deployed]
    body: bytes
    tag: str


class DescriptionApi:
    """The handlers, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._documents: dict[str, _Document] = {}  # by the name of the access key: it may see some functions alone

    async def document(self, request: Request) -> Response:
        """The document as of the functions that are known now; those known before while Redis is away."""
        key = CALLER.get()
        document = await self._current("" if key is None else key.name, secured=key is not None)
        headers = {"ETag": document.tag, "Cache-Control": "no-cache"}
        if matches(document.tag, requests.if_none_match(request)):
            return Response(None, 304, headers)
        return rendered_reply(document.body, 200, headers)

    async def _current(self, caller: str, *, secured: bool) -> _Document:
        document = self._documents.get(caller)
        try:
            functions = await self._lanework.functions()
        except StoreError:
            functions = {} if document is None else document.functions
        if document is None or document.functions != functions:
            body = codec.to_json(build(functions, self._lanework.settings, secured=secured))
            tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            document = self._documents[caller] = _Document(functions, body, tag)
        return document

    async def page(self, request: Request) -> Response:
        return Response(_static("docs.html"), 200, SECURITY, media_type="text/html")

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["file"]
        if name not in PAGE_FILES:
            raise BadRequest(404, "no-such-path", f"/docs has {', '.join(PAGE_FILES)}")
        headers = {**SECURITY, "Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}
        body = _static(name)
        if name != "docs.js":
            if "gzip" in requests.header(request, b"accept-encoding"):
                headers["Content-Encoding"] = "gzip"
            else:
                body = gzip.decompress(body)
        return Response(body, 200, headers, media_type="text/css" if name.endswith(".css") else "text/javascript")


@cache
def _static(name: str) -> bytes:
    folder: Any = files("runtime.gateway") / "static"
    packed = folder / f"{name}.gz"
    return bytes(packed.read_bytes() if packed.is_file() else (folder / name).read_bytes())


def paths(lanework: Lanework) -> Paths:
    api = DescriptionApi(lanework)
    return {
        "/openapi.json": {"GET": api.document},
        "/docs": {"GET": api.page},
        "/docs/{file}": {"GET": api.file},
        "/swagger": {"GET": api.page},
        "/swagger/index.html": {"GET": api.page},
    }
