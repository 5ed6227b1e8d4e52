"""For the tests of those who write functions: one function without any Redis, or a whole Lanework.

from runtime.testing import call, lanework  # lanework is a pytest fixture

def test_it_adds():
    assert call("math", {"a": 1, "b": 2}).result == 3

def test_it_runs(lanework):
    assert lanework.call("math", {"a": 1, "b": 2})["result"] == 3
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import structlog

try:
    import pytest
except ImportError as error:
    raise ImportError("runtime.testing needs pytest: python -m pip install pytest") from error

from runtime import codec, ids, settings
from runtime.clock import now_ms
from runtime.context import Context, JobInfo
from runtime.discovery import discover
from runtime.failure import ResultTooLarge, Timeout, failure
from runtime.request import JobRequest
from runtime.spec import Function

_START = 60.0


@dataclass(slots=True)
class Outcome:
    """What an attempt came to, as the job would keep it.

    `status`: completed; retry, where further attempts are left; or failed. `result` and `error` as the API
    shows them. `retry_in`: the seconds that `RetryLater` asked for. `progress`: every report. `enqueued`,
    `follow_up`: what starts if it completes. `logs`: events of `ctx.log`.
    """

    status: Literal["completed", "retry", "failed"] = "completed"
    result: Any = None
    error: dict[str, Any] | None = None
    retry_in: float | None = None
    progress: list[dict[str, Any]] = field(default_factory=list)
    enqueued: list[JobRequest] = field(default_factory=list)
    follow_up: JobRequest | None = None
    logs: list[dict[str, Any]] = field(default_factory=list)


def call(
    function: str | Callable[..., Any],
    payload: Any = None,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    files: str | Path | None = None,
) -> Outcome:
    """Runs one attempt as a worker would: the payload validated, the context given, the result packed.

    `function`: its name in the functions folder, or a handler. `files`: what `ctx.file` opens; a folder that is
    gone afterwards where it is not said. A `def` handler runs right here: its timeout and its memory are a
    worker's to keep. In an async test, use `call_async`.
    """
    return asyncio.run(call_async(function, payload, attempt=attempt, max_attempts=max_attempts, files=files))


async def call_async(
    function: str | Callable[..., Any],
    payload: Any = None,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    files: str | Path | None = None,
) -> Outcome:
    """As `call`, from an async test."""
    fn = _find(function)
    most = fn.policy.retry.max_attempts if max_attempts is None else max_attempts
    outcome = Outcome()
    job = JobInfo(ids.new_id(), fn.name, fn.policy.lane or "normal", attempt, most, now_ms(), attempt)
    with contextlib.ExitStack() as stack:
        place = files or stack.enter_context(tempfile.TemporaryDirectory())
        logs: Any = structlog.testing.capture_logs()
        outcome.logs = stack.enter_context(logs)
        ctx = Context(job, outcome.progress.append, Path(place))
        try:
            value = await _attempt(fn, ctx, codec.pack_shown(payload))
        except Exception as error:
            failed = failure(error, fn.policy.retry)
            outcome.status = "failed" if failed.final or attempt >= most else "retry"
            outcome.error = codec.unpack(failed.record)
            outcome.retry_in = failed.seconds
            return outcome
    outcome.result = codec.from_json(codec.to_json(codec.unpack(value)))
    outcome.enqueued = [request for _, request in ctx.asked]
    outcome.follow_up = ctx.follow_up and ctx.follow_up[1]
    return outcome


async def _attempt(fn: Function, ctx: Context, payload: bytes) -> bytes:
    arguments = fn.arguments(payload, lambda: ctx)
    if fn.is_async:
        try:
            result = await asyncio.wait_for(fn.handler(**arguments), fn.policy.timeout)
        except TimeoutError:
            raise Timeout(f"did not end within {fn.policy.timeout:g} s") from None
    else:
        result = fn.handler(**arguments)
    value, limit = codec.pack_shown(result), settings.load().result_limit
    if len(value) > limit:
        raise ResultTooLarge(len(value), limit)
    return value


def _find(function: str | Callable[..., Any]) -> Function:
    if callable(function):
        return Function(function.__name__.strip("_") or "handle", function)
    found = discover(settings.load().functions_dir)
    if function in found.broken:
        raise ImportError(f"{function} does not load:\n{found.broken[function]}")
    spec = found.get(function)
    assert isinstance(spec, Function)
    return spec


class Running:
    """A whole Lanework: server, gateway and a worker. `url`: the gateway's; `http`: a client of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=70, trust_env=False)

    def call(self, function: str, payload: Any = None, *, timeout: float = 30.0, **options: Any) -> dict[str, Any]:
        """Enqueues a job and waits until it has settled; returns it as the API shows it.

        `options` as in `POST /jobs`. Raises httpx.HTTPStatusError where it is refused, and TimeoutError.
        """
        reply = self.http.post("/jobs", json={"type": function, "payload": payload, **options})
        reply.raise_for_status()
        job: dict[str, Any] = reply.json()
        deadline = time.monotonic() + timeout
        while job["status"] not in ("completed", "failed", "cancelled"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {job['id']} is {job['status']} after {timeout:g} s")
            wait = {"Prefer": f"wait={max(1, int(min(60, left)))}"}
            job = self.http.get(f"/jobs/{job['id']}", headers=wait).json()
        return job


@contextlib.contextmanager
def running(functions: str | Path | None = None, **given: str) -> Iterator[Running]:
    """Runs a Lanework of its own on free ports; its data is gone afterwards. `given`: further settings.

    Needs the extra `embedded`. Raises RuntimeError, with what it printed, where it does not start.
    """
    folder = Path(functions) if functions is not None else settings.load().functions_dir
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryFile("w+") as printed:
        command = [sys.executable, "-m", "runtime.cli.main", "up", "--port", str(port), "--data", data]
        started = subprocess.Popen(
            [*command, "--functions", str(folder.resolve())],
            env={**os.environ, **{f"LANEWORK_{name.upper()}": value for name, value in given.items()}},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        one = Running(f"http://127.0.0.1:{port}")
        try:
            if not _serves(one, started):
                printed.seek(0)
                raise RuntimeError(f"Lanework did not start:\n{printed.read()}")
            yield one
        finally:
            one.http.close()
            started.send_signal(signal.SIGINT)
            started.wait(60)


def _serves(one: Running, started: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START
    while started.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            reply = one.http.get("/workers")
            if reply.is_success and reply.json()["workers"]:
                return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def lanework() -> Iterator[Running]:
    """A whole Lanework with the functions of `LANEWORK_FUNCTIONS_DIR`, else of `functions/`, for all tests."""
    with running() as one:
        yield one
