"""`POST /jobs/batch`: many jobs in one request, as a JSON array or as NDJSON, gzip understood.

NDJSON is read, checked and stored part by part: no more than a part is held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from runtime.client import Lanework
from runtime.client.bulk import Stored
from runtime.client.part import Part
from runtime.errors import LaneworkError
from runtime.gateway import requests
from runtime.gateway.endpoint import Paths
from runtime.gateway.inflate import inflated
from runtime.gateway.problems import BadRequest, describe, json_reply
from runtime.jobs.request import JobRequest
from runtime.values import codec

MAX_JOBS = 10_000
_ERRORS_SHOWN = 3  # of each job
_DETAIL_SHOWN = 500  # characters
_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


class BatchApi:
    """The handler, on one connection to Lanework."""

    def __init__(self, lanework: Lanework) -> None:
        self._lanework = lanework
        self._body_limit = lanework.settings.body_limit
        self._batch_limit = lanework.settings.batch_limit

    async def create(self, request: Request) -> Response:
        """202 where every job was stored or found, else 207 with the problem of each that was refused."""
        requests.refuse_unknown(request, set())
        batch = _Batch(request)
        part = Part(self._lanework, batch.note)
        try:
            async for size, item in self._items(request):
                if part.count == MAX_JOBS:
                    raise BadRequest(
                        422, "batch-invalid", f"a batch has at most {MAX_JOBS} jobs: send the rest anew"
                    )
                part.add(batch.read(item), size)
                if part.is_full:
                    await part.store()
        except BadRequest as error:
            if part.count == 0:
                raise
            part.add(error, 0)  # what came before stands, and its sender must know
        await part.store()
        return json_reply(batch.reply(), 207 if batch.refused else 202)

    async def _items(self, request: Request) -> AsyncIterator[tuple[int, Any]]:
        """Each job's bytes, and the job as it was parsed, or the error that it is."""
        kind = requests.media_type(request)
        if kind in _NDJSON:
            async for line in _lines(inflated(request), self._body_limit):
                yield len(line), _parsed(line)
            return
        if kind != "application/json":
            hint = f"send a JSON array (application/json) or lines of JSON ({_NDJSON[0]})"
            raise BadRequest(415, "not-json", f"{hint}, not {kind}" if kind else hint)
        body = b"".join([chunk async for chunk in _up_to(self._batch_limit, inflated(request))])
        try:
            items = codec.from_json(body)
        except ValueError as error:
            raise BadRequest(400, "bad-json", f"the body is not JSON: {error}") from None
        if not isinstance(items, list):
            raise BadRequest(422, "batch-invalid", 'a batch is an array of jobs, such as [{"type": "echo"}]')
        if len(items) > MAX_JOBS:
            raise BadRequest(422, "batch-invalid", f"a batch has at most {MAX_JOBS} jobs")
        for item in items:
            yield len(body) // len(items), item


def paths(lanework: Lanework) -> Paths:
    return {"/jobs/batch": {"POST": BatchApi(lanework).create}}


class _Batch:
    """Reads jobs for one caller, and keeps what came of each."""

    def __init__(self, request: Request) -> None:
        self.refused = 0
        self._request = request
        self._results: list[dict[str, Any]] = []

    def read(self, item: Any) -> JobRequest | LaneworkError:
        """The job that an item is, or why it is none."""
        try:
            return self._read(item)
        except LaneworkError as error:
            return error

    def note(self, result: Stored | LaneworkError) -> None:
        if isinstance(result, LaneworkError):
            self.refused += 1
            self._results.append({"problem": _brief(describe(result))})
        else:
            self._results.append({"id": result.id, "new": result.new})

    def reply(self) -> dict[str, Any]:
        return {"stored": len(self._results) - self.refused, "refused": self.refused, "results": self._results}

    def _read(self, item: Any) -> JobRequest:
        if isinstance(item, LaneworkError):
            raise item
        if not isinstance(item, dict):
            raise BadRequest(422, "job-invalid", 'a job is an object, such as {"type": "echo", "payload": {}}')
        own = item.pop("idempotency_key", None)
        if own is not None and (not isinstance(own, str) or not 1 <= len(own) <= 255):
            raise BadRequest(422, "job-invalid", "idempotency_key has 1 to 255 characters")
        return JobRequest.parse(item, None if own is None else requests.scoped_key(self._request, own))


def _brief(problem: dict[str, Any]) -> dict[str, Any]:
    """Ten thousand problems are one reply."""
    if len(detail := problem["detail"]) > _DETAIL_SHOWN:
        problem["detail"] = f"{detail[:_DETAIL_SHOWN]}…"
    if "errors" in problem:
        problem["errors"] = problem["errors"][:_ERRORS_SHOWN]
    return problem


def _parsed(line: bytes) -> Any:
    try:
        return codec.from_json(line)
    except ValueError as error:
        return BadRequest(400, "bad-json", f"the line is not JSON: {error}")


async def _lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Lines that are not blank. Raises BadRequest: 413 for one that is longer than `limit`."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > limit:
            raise BadRequest(413, "too-large", f"a line has at most {limit} bytes; pass large data by reference")
    if rest.strip():
        yield rest


async def _up_to(limit: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Raises BadRequest: 413 where there are more bytes."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise BadRequest(413, "too-large", f"an array has at most {limit} bytes; NDJSON may have more")
        yield chunk
