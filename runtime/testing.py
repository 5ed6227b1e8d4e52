"""For the tests of those who write functions: one function without any Redis, or a whole Lanework.

from runtime.testing import call

def test_it_adds():
    assert call("math", {"a": 1, "b": 2}).result == 3

def test_it_runs(lanework):  # a fixture that pytest has wherever Lanework is installed
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import structlog

from runtime import settings
from runtime.client.contracts import Contracts
from runtime.client.prepare import Preparer
from runtime.handlers.catalogue import Catalogue, discover
from runtime.handlers.loader import Sources
from runtime.handlers.policy import NAME
from runtime.handlers.spec import Function
from runtime.jobs.event import Event, Publication
from runtime.jobs.job import SETTLED
from runtime.jobs.request import JobRequest
from runtime.store.attempts import Settlement, Taken
from runtime.store.registry import Deployed, describe, describe_broken
from runtime.store.rows import NewJob
from runtime.values import codec
from runtime.values.clock import now_ms
from runtime.values.shards import Shards
from runtime.worker import exits_and_forks
from runtime.worker.attempt import Attempt
from runtime.worker.calls import Calls
from runtime.worker.runner import Runner
from runtime.worker.starts import Starts

_START = 60.0


@dataclass(slots=True)
class Outcome:
    """What an attempt came to, as the job would keep it.

    `status`: completed; retry, where further attempts are left; or failed. `result` and `error` as the API
    shows them. `retry_in`: seconds until the next attempt. `progress`: every report, `output`: every chunk.
    `enqueued`, `follow_up`: what starts because it completed; `published`: the events that it publishes, with
    their data. `logs`: events of `ctx.log`.
    """

    status: str = "completed"
    result: Any = None
    error: dict[str, Any] | None = None
    retry_in: float | None = None
    progress: list[dict[str, Any]] = field(default_factory=list)
    output: list[Any] = field(default_factory=list)
    enqueued: list[JobRequest] = field(default_factory=list)
    follow_up: JobRequest | None = None
    published: list[tuple[Event, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)


def call(
    function: str | Callable[..., Any],
    payload: Any = None,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    files: str | Path | None = None,
    elsewhere: Collection[str] = (),
    event: Event | None = None,
) -> Outcome:
    """Runs one attempt as a worker does: the payload validated, the context given, the result packed, and what it
    enqueues checked against the functions of the folder.

    `function`: its name in the functions folder, or a handler. `files`: the folder that `ctx.file` opens; by
    default a temporary one. `elsewhere`: functions that it enqueues jobs for and that are not in this folder;
    their payloads are not checked. `event`: the event that brings the job. A `def` handler runs in the calling
    thread, inside an event loop: its timeout and memory limit are not enforced, and it cannot call `asyncio.run`.
    In an async test, use `call_async`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        options: dict[str, Any] = {"attempt": attempt, "max_attempts": max_attempts, "files": files, "event": event}
        return asyncio.run(call_async(function, payload, elsewhere=elsewhere, **options))
    raise RuntimeError("an event loop runs already: await call_async(…) here")


async def call_async(
    function: str | Callable[..., Any],
    payload: Any = None,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    files: str | Path | None = None,
    elsewhere: Collection[str] = (),
    event: Event | None = None,
) -> Outcome:
    """As `call`, from an async test."""
    loaded = settings.load()
    folder = _Folder(loaded, elsewhere)
    fn = folder.find(function)
    deployed = describe(fn.name, fn, loaded)
    attempts_allowed = deployed.max_attempts if max_attempts is None else max_attempts
    job_id = Shards(loaded.shards).new_id(fn.name if deployed.pinned else None)
    packed, now, loop = codec.pack_shown(payload), now_ms(), asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        place = Path(files or stack.enter_context(tempfile.TemporaryDirectory()))
        events: Any = stack.enter_context(cast("Any", structlog.testing.capture_logs()))
        stack.enter_context(exits_and_forks.tasks_contained(loop))
        reports = _Reports()
        calls = Calls(_Here(), None, loaded.model_copy(update={"files_dir": place}), reports)
        contracts = Contracts(folder)
        runner = Runner(calls, Starts(Preparer(contracts, loaded), contracts, _stage), loaded.result_limit)
        running_attempt = Attempt(
            Taken(fn.name, deployed.lane, b"0-0", job_id, attempt, packed, attempts_allowed, now, 0, now), fn
        )
        if event is not None:
            running_attempt.taken.extras = codec.pack_batch({"event": codec.pack(event.attributes)})
        settlement = await _run(runner, running_attempt)
    outcome = Outcome(settlement.outcome, progress=reports.progress_reports, output=reports.chunks)
    outcome.logs = [
        event for event in events if event["event"] != "attempt.failed" or event.get("part") != "worker"
    ]
    if settlement.outcome == "completed":
        outcome.result = codec.from_json(codec.to_json(codec.unpack(settlement.value)))
        started = [request for _, request in running_attempt.requested]
        outcome.enqueued = [request for request in started if isinstance(request, JobRequest)]
        outcome.published = [(it.event, it.data) for it in started if isinstance(it, Publication)]
        outcome.follow_up = running_attempt.follow_up and running_attempt.follow_up[1]
        return outcome
    outcome.error = codec.unpack(settlement.value)
    outcome.retry_in = settlement.delay / 1000 if settlement.outcome == "retry" else None
    return outcome


async def _run(runner: Runner, attempt: Attempt) -> Settlement:
    """Runs an attempt to its end. If the test is cancelled, as by Ctrl-C, the attempt is too, with no outcome."""
    attempt.task = asyncio.create_task(runner.run(attempt))
    try:
        await asyncio.wait([attempt.task])
    except asyncio.CancelledError:
        attempt.task.cancel()
        await asyncio.wait([attempt.task])
        raise
    settlement: Settlement = attempt.task.result()
    return settlement


class _Here:
    """In place of a worker's threads: the thread that calls."""

    async def run(self, handler: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return handler(**arguments)


class _Reports:
    """What an attempt reports."""

    def __init__(self) -> None:
        self.progress_reports: list[dict[str, Any]] = []
        self.chunks: list[Any] = []

    def progress(self, attempt: Attempt, report: dict[str, Any]) -> None:
        self.progress_reports.append(report)

    def emit(self, attempt: Attempt, packed: bytes) -> None:
        self.chunks.append(codec.unpack(packed))

    def line(self, attempt: Attempt, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """They are captured where they are logged."""


async def _stage(taken: Taken, part: int, jobs: Sequence[NewJob]) -> bool:
    return True


class _Folder:
    """In place of what workers publish in Redis: the functions of the folder, loaded when they are asked for."""

    def __init__(self, loaded: settings.Settings, elsewhere: Collection[str]) -> None:
        self._settings = loaded
        self._elsewhere = elsewhere
        self._catalogue: Catalogue | None = None
        self._handler: Function | None = None

    def find(self, function: str | Callable[..., Any]) -> Function:
        """Raises ImportError where it does not load, and FunctionUnknown."""
        if callable(function):
            name = getattr(function, "__name__", "").strip("_")
            self._handler = Function(name if NAME.fullmatch(name) else "handle", function)
            return self._handler
        catalogue = self._load()
        if function in catalogue.broken:
            raise ImportError(f"{function} does not load:\n{catalogue.broken[function]}")
        found = catalogue.get(function)
        assert isinstance(found, Function)
        return found

    def _load(self) -> Catalogue:
        if self._catalogue is None:
            folder = self._settings.functions_dir
            self._catalogue = discover(folder) if folder.is_dir() or self._handler is None else Catalogue()
            if self._handler is not None:
                names = (self._handler.name, *self._handler.policy.aliases)
                self._catalogue.functions.update(dict.fromkeys(names, self._handler))
        return self._catalogue

    async def functions(self) -> dict[str, Deployed]:
        catalogue, loaded = self._load(), self._settings
        deployed = {name: describe(name, _anything(name), loaded) for name in self._elsewhere}
        deployed |= {name: describe_broken(name, trace, loaded) for name, trace in catalogue.broken.items()}
        return deployed | {name: describe(name, fn, loaded) for name, fn in catalogue.functions.items()}

    async def restore(self, deployed: Sequence[Deployed]) -> bool:
        return False


def _anything(name: str) -> Function:
    """A function that takes any payload."""

    async def handle(payload: Any) -> None: ...

    return Function(name, handle)


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
        while job["status"] not in SETTLED:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"job {job['id']} is {job['status']} after {timeout:g} s")
            wait = {"Prefer": f"wait={max(1, int(min(60, left)))}"}
            job = self.http.get(f"/jobs/{job['id']}", headers=wait).json()
        return job


@contextlib.contextmanager
def running(functions: str | Path | None = None, **overrides: str) -> Iterator[Running]:
    """Runs a Lanework of its own on free ports; its data is gone afterwards. `overrides`: further settings.

    Needs the extra `embedded`. Raises RuntimeError, with what it printed, where it does not start.
    """
    folder = Path(functions) if functions is not None else settings.load().functions_dir
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryFile("w+") as printed:
        command = [sys.executable, "-m", "runtime.cli.main", "up", "--port", str(port), "--data", data]
        started = subprocess.Popen(
            [*command, "--functions", str(folder.resolve())],
            env={**os.environ, **{f"LANEWORK_{name.upper()}": value for name, value in overrides.items()}},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        instance = Running(f"http://127.0.0.1:{port}")
        try:
            modules = set() if "functions" in overrides else set(Sources(folder).scan())
            if not _serves(instance, started, modules):
                printed.seek(0)
                raise RuntimeError(f"Lanework did not start:\n{printed.read()}")
            yield instance
        finally:
            instance.http.close()
            started.send_signal(signal.SIGINT)
            started.wait(60)


def _serves(instance: Running, started: subprocess.Popen[bytes], modules: Set[str]) -> bool:
    """Waits until a worker has each of the modules, or says why it does not load."""
    deadline = time.monotonic() + _START
    while started.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            workers, functions = (instance.http.get(path).raise_for_status() for path in ("/workers", "/functions"))
            known = {function["name"] for function in functions.json()["functions"]}
            if workers.json()["workers"] and modules <= known:
                return True
        time.sleep(0.05)
    return False
