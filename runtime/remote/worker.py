"""The worker of `runtime.remote`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from runtime import log, settings
from runtime.errors import AccessDenied, AccessForbidden, FunctionInvalid, LaneworkError, SettingsInvalid
from runtime.handlers.policy import function
from runtime.handlers.spec import Function
from runtime.remote.announce import announced
from runtime.remote.connection import Connection
from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb
from runtime.rpc.work.hello import MAX_SLOTS
from runtime.worker import exits_and_forks
from runtime.worker.threads import Threads

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two connections
_GONE = 2.0  # seconds that a stopped worker waits for its handlers
_REFUSED: dict[grpc.StatusCode, type[LaneworkError]] = {
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessForbidden,
    grpc.StatusCode.INVALID_ARGUMENT: FunctionInvalid,
}
_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", -1),  # a payload as JSON may be several times as large as its limit
)
_KEY = re.compile(r"[!-~]*")


class Worker:
    """Runs functions here that a gateway hands it. It comes back whenever the gateway does."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        name: str | None = None,
        slots: int = 10,
        version: str = "",
        ca: Path | None = None,
    ) -> None:
        """`url`: the gateway's gRPC port, such as http://localhost:50051; https:// for TLS. `key`: an access key
        with the scope `work`; else that of `LANEWORK_KEY`. `name`: what lists call it, else this host's name.
        `slots`: how many attempts run at once. `version`: of the code, such as a release. `ca`: a PEM file with the
        authorities that the gateway's certificate may be from, else the usual ones.

        Raises SettingsInvalid.
        """
        self._settings = settings.load()
        self._url = url
        self._target, self._is_secure = _target(url)
        self._ca = ca
        self._key = (self._settings.key.get_secret_value() if key is None else key).strip()
        self._name = re.sub(r"[^a-z0-9._-]+", "-", (name or socket.gethostname()).lower()).strip("-._")[:40]
        if type(slots) is not int or not 1 <= slots <= MAX_SLOTS:
            raise SettingsInvalid(f"slots is a number from 1 to {MAX_SLOTS}")
        if not _KEY.fullmatch(self._key):
            raise SettingsInvalid("this is no access key: one looks as lw_web-shop_…, without spaces")
        if ca is not None and not ca.is_file():
            raise SettingsInvalid(f"there is no file {ca}")
        self._slots = slots
        self._version = version
        self._functions: dict[str, Function] = {}
        self._announced: list[pb.RemoteFunction] = []
        self._log = log.get("remote")
        self._busy: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._connection: Connection | None = None

    def register(self, type: str, handler: Callable[..., Any], **options: Any) -> Worker:
        """Serves jobs of this type by a handler, `async def` or `def`, as a module of `functions/` has one: its
        annotations are the contract, and a parameter annotated `Context` gets the context.

        `options`: those of `@function`. Raises FunctionInvalid.
        """
        if options:
            handler = function(**options)(handler)
        made = Function(type, handler)
        for name in (type, *made.policy.aliases):
            if name in self._functions:
                raise FunctionInvalid(f"{name!r} is served by {self._functions[name].name} already")
        self._announced.append(announced(made, self._version))
        self._functions.update(dict.fromkeys((type, *made.policy.aliases), made))
        return self

    def run(self) -> None:
        """Until `stop`, SIGTERM or SIGINT: then nothing more is taken, and what runs may finish. A second signal
        ends the process at once.

        Raises AccessDenied, AccessForbidden and FunctionInvalid where the gateway refuses it.
        """
        if not self._functions:
            raise FunctionInvalid('register a function first: worker.register("email", send)')
        if self._loop is not None:
            raise SettingsInvalid("this worker runs already")
        log.configure(self._settings)
        asyncio.run(self._run())

    def stop(self) -> None:
        """From any thread. A worker that was stopped does not run again."""
        if self._loop is None:
            self._stopping.set()
        else:
            self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        self._stopping.set()
        if self._connection is not None:
            self._connection.leave()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        threads = Threads(self._slots)
        try:
            with self._signals(), exits_and_forks.copies_end(), exits_and_forks.tasks_contained(self._loop):
                await self._stay_connected(threads)
            if self._busy:
                await asyncio.wait(self._busy, timeout=_GONE)
        finally:
            self._loop = None
            threads.close()

    async def _stay_connected(self, threads: Threads) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            if len(self._busy) >= self._slots:  # by handlers that ignore that they should stop
                await self._until_free()
                continue
            was_welcome, code, details = await self._serve(threads)
            if code in _REFUSED:
                raise _REFUSED[code](details)
            if self._stopping.is_set():
                if code is not grpc.StatusCode.OK:
                    self._log.warning("remote.cut", url=self._url, why=details or code.name)
                break
            pause = _FIRST_PAUSE if was_welcome else min(_LONGEST_PAUSE, 2 * pause)
            self._log.warning("remote.disconnected", url=self._url, why=details or code.name, again_in=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
        self._log.info("remote.left", still_running=len(self._busy))

    async def _until_free(self) -> None:
        stopping = asyncio.get_running_loop().create_task(self._stopping.wait())
        await asyncio.wait({*self._busy, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    async def _serve(self, threads: Threads) -> tuple[bool, grpc.StatusCode, str]:
        hello = pb.Hello(name=self._name, slots=self._slots - len(self._busy), functions=self._announced)
        with self._channel() as channel:
            self._connection = Connection(
                channel, hello, self._key, self._functions, threads, self._settings.files_dir, self._busy
            )
            try:
                return await self._connection.ended()
            finally:
                self._connection = None

    def _channel(self) -> grpc.Channel:
        if not self._is_secure:
            return grpc.insecure_channel(self._target, options=_OPTIONS)
        roots = None if self._ca is None else self._ca.read_bytes()
        return grpc.secure_channel(self._target, grpc.ssl_channel_credentials(roots), options=_OPTIONS)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

        def stop() -> None:
            if self._stopping.is_set():
                os._exit(130)
            self._leave()

        with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: `stop` is the way
            for number in numbers:
                loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number in numbers:
                with contextlib.suppress(RuntimeError, ValueError):
                    loop.remove_signal_handler(number)


def _target(url: str) -> tuple[str, bool]:
    """As gRPC has it, and whether it is secure. Raises SettingsInvalid."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None or parts.path.strip("/"):
        raise SettingsInvalid(f"{url!r} is not the URL of a gRPC port, such as http://localhost:50051")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}", parts.scheme == "https"
