"""Running one gateway or one worker in this process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

import uvicorn
import uvloop
from prometheus_client import generate_latest

from runtime import log, tracing
from runtime.cli import show
from runtime.errors import SettingsInvalid, StoreUnavailable
from runtime.gateway import grpc_port
from runtime.gateway.access.keyring import needs_keys
from runtime.gateway.app import create_app
from runtime.gateway.bounded_protocol import BoundedProtocol
from runtime.settings import Settings
from runtime.store.access import AccessKeys
from runtime.store.connect import Redis, opened
from runtime.store.server_check import check_server
from runtime.worker import printed
from runtime.worker.metrics_port import MetricsPort
from runtime.worker.worker import Worker

_GONE_WITHIN = 2.0  # seconds after a worker has left
_TOGETHER = 0.5  # seconds within which signals are one


def gateway(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT. Raises StoreError if Redis is unsuitable (if it does not answer, the gateway
    starts anyway), and SettingsInvalid if access keys are required and none is valid, or gRPC cannot be served."""
    log.configure(settings)
    tracing.send_spans()
    if settings.grpc_port is not None:
        grpc_port.check(settings)
        free_port(settings.host, settings.grpc_port, "--grpc-port")
    uvloop.run(_check(settings))
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedProtocol,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # no client address is used
        timeout_graceful_shutdown=5,
    )
    log.get("gateway").info("gateway.started", url=f"http://{settings.host}:{settings.port}", pid=os.getpid())
    server = _Server(config, app.release)
    for number in (signal.SIGTERM, signal.SIGINT):
        # after its shutdown uvicorn raises the signal again for the handler that was there before; the default one
        # would kill the process, as if it had not stopped cleanly
        signal.signal(number, server.handle_exit)
    _settle_heap()
    server.run()
    log.get("gateway").info("gateway.left")
    return show.DONE if server.started else show.FAILED


def free_port(host: str, port: int, option: str) -> int:
    """The port, a free one for 0. Raises SettingsInvalid where it cannot be listened on."""
    try:
        with socket.create_server((host, port)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        message = f"{host}:{port} cannot be listened on ({error.strerror}); choose another with {option}"
        raise SettingsInvalid(message) from None


class _Server(uvicorn.Server):
    """A server that, before it stops, answers the requests that are waiting for a job."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None]) -> None:
        super().__init__(config)
        self._release = release

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._release()
        await super().shutdown(sockets)


def _settle_heap() -> None:
    """Exempts what imports allocated from garbage collection, and makes collections rarer: reference counts free
    nearly all that requests and attempts allocate, and collections took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _check(settings: Settings) -> None:
    async with opened(settings) as client:
        try:
            await check_server(client, settings)
        except StoreUnavailable as error:
            log.get("gateway").warning("store.trouble", role="gateway", code=error.code, error=str(error))
            return
        await check_access(client, settings)


async def check_access(client: Redis, settings: Settings) -> None:
    """Raises SettingsInvalid where a gateway would refuse everybody: it asks for keys, and none is valid."""
    keys = await AccessKeys(client, settings).all() if needs_keys(settings) else {}
    if needs_keys(settings) and not any(key.status == "valid" for key in keys.values()):
        raise SettingsInvalid(
            f"a gateway on {settings.host} asks for access keys, and there is none that is valid: make one with "
            "`lanework keys new`; or set LANEWORK_INSECURE=1 where something else decides who reaches it"
        )


def worker(settings: Settings, listener: socket.socket | None = None, metrics_url: str | None = None) -> int:
    """Runs until SIGTERM or SIGINT. `listener`: in place of a port of its own, with `metrics_url` for others to
    see. Raises StoreError, FunctionInvalid, FunctionUnknown, SettingsInvalid."""
    log.configure(settings)
    tracing.send_spans()
    printed.capture()
    try:
        listener = listener or socket.create_server((settings.host, settings.worker_port))
    except OSError as error:
        show.error("port-taken", port_taken(settings, error))
        return show.FAILED
    return uvloop.run(_worker(settings, MetricsPort(listener), metrics_url))


def port_taken(settings: Settings, error: OSError) -> str:
    return f"{settings.host}:{settings.worker_port}: {error.strerror}; choose with --port, 0 picks one"


async def _worker(settings: Settings, port: MetricsPort, metrics_url: str | None) -> int:
    worker = Worker(settings, metrics_url=metrics_url or f"{port.address}/metrics", alone=True)

    async def trouble() -> str | None:
        return worker.trouble

    async def metrics() -> bytes:
        return generate_latest()

    port.start(trouble, metrics)
    _settle_heap()
    _stop_on_signals(worker)
    failed: BaseException | None = None
    try:
        await worker.run()
    except BaseException as error:
        failed = error
        raise
    finally:
        _end_within(_GONE_WITHIN, failed)
        await port.close()
    return show.DONE


def _end_within(seconds: float, failed: BaseException | None) -> None:
    """Ends the process after this many seconds at the latest. Threads of handlers or libraries could keep it alive
    for ever, and its supervisor would take it for working. Their work is lost; no job is."""

    def end() -> None:
        threads = [thread.name for thread in threading.enumerate() if thread is not timer and not thread.daemon]
        log.get("worker").warning("process.ended", threads=threads, why="they did not end", exc_info=failed)
        sys.stdout.flush()
        os._exit(show.DONE if failed is None else show.FAILED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _stop_on_signals(worker: Worker) -> None:
    """SIGTERM and SIGINT stop it; a second one stops it at once, and its leases run out.

    A supervisor's end is told once for each of its threads (prctl(2), PR_SET_PDEATHSIG), which is no second one.
    """
    stopped_at: float | None = None

    def stop() -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = time.monotonic()
            worker.stop()
        elif time.monotonic() - stopped_at > _TOGETHER:
            os._exit(130)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
