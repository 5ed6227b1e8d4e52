"""`lanework up`: the server, one gateway and workers, each a process of its own, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import httpx
from pydantic import SecretStr

from runtime import log
from runtime.cli import show
from runtime.cli.serve import check_access, free_port
from runtime.cli.supervised import Supervised
from runtime.client import Lanework
from runtime.errors import SettingsInvalid, StoreUnavailable
from runtime.gateway.access.keyring import needs_keys
from runtime.gateway.grpc_port import require_installed
from runtime.handlers.policy import NAME
from runtime.jobs.built_in import NAMES
from runtime.settings import PREFIX, Settings
from runtime.store import embedded
from runtime.store.access import AccessKeys
from runtime.store.connect import opened
from runtime.store.registry import Deployed

_START = 30.0
_LOAD = 5.0  # seconds for the modules that have not loaded when the first has
_GRPC_PORT = 50051


def run(settings: Settings, data: Path, workers: int, *, history: bool = True) -> int:
    """`history`: whether what settles is kept in a file of the data folder, where the settings name no database."""
    log.configure(settings)
    embedded.binary()
    if not settings.functions_dir.is_dir():
        raise SettingsInvalid(f"there is no folder {settings.functions_dir}; name one with --functions")
    port = free_port(settings.host, settings.port, "--port")
    grpc_port = _grpc_port(settings)
    data.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(
        update={"port": port, "grpc_port": grpc_port, "redis_url": f"unix://{embedded.socket_path(data)}"}
    )
    if history and not settings.history_url.get_secret_value() and find_spec("sqlalchemy"):
        file = SecretStr(f"sqlite:///{(data / 'history.db').resolve()}")
        settings = settings.model_copy(update={"history_url": file})
    with _locked(data):
        embedded.stop_orphan(data)
        return asyncio.run(_run(settings, data, workers))


async def _run(settings: Settings, data: Path, workers: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Supervised("server", embedded.command(data), dict(os.environ))
    env = _environment(settings)
    lanework = [sys.executable, "-m", "runtime.cli.main"]
    others = [Supervised("gateway", [*lanework, "gateway"], env)]
    if settings.history_url.get_secret_value():
        others.append(Supervised("history", [*lanework, "history", "run"], env))
    others += [Supervised(f"worker {n}", [*lanework, "worker", "--port", "0"], env) for n in range(1, workers + 1)]

    await server.start()
    tasks = [asyncio.create_task(server.run())]
    try:
        if not await _until_ready(data, stop):
            show.error("server-failed", f"the embedded server did not start within {_START:g} s; see above")
            return show.FAILED
        is_keyed = await _is_keyed(settings, data)
        await _make_tables(settings)
        tasks += [asyncio.create_task(child.run()) for child in others]
        async with Lanework(settings) as client:
            if not stop.is_set() and await _until_serving(client, stop):
                _welcome(settings, data, await client.functions(), is_keyed=is_keyed)
        await stop.wait()
    finally:
        log.get("up").info("stopping")
        await asyncio.gather(*(child.stop(settings.grace + 10) for child in others))
        await server.stop(20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log.get("up").info("stopped", data=str(data))
    return show.DONE


async def _is_keyed(settings: Settings, data: Path) -> bool:
    """Whether the gateway asks for access keys. Raises SettingsInvalid where there must be one first."""
    async with opened(settings) as redis:
        try:
            await check_access(redis, settings)
        except SettingsInvalid as error:
            hint = f"start this once without LANEWORK_HOST, and meanwhile `lanework keys new --data {data}`"
            raise SettingsInvalid(f"{error}; to make the first, {hint}") from None
        return needs_keys(settings) or bool(await AccessKeys(redis, settings).all())


async def _make_tables(settings: Settings) -> None:
    """Raises SettingsInvalid, HistoryUnavailable."""
    if settings.history_url.get_secret_value():
        from runtime.cli.archive import make_tables  # the extra `history` brings what it needs

        await make_tables(settings)


async def _until_ready(data: Path, stop: asyncio.Event) -> bool:
    deadline = time.monotonic() + _START
    while not stop.is_set() and time.monotonic() < deadline:
        if await asyncio.to_thread(embedded.answers, data):
            return True
        await asyncio.sleep(0.05)
    return stop.is_set()


async def _until_serving(lanework: Lanework, stop: asyncio.Event) -> bool:
    """Until the gateway is ready and a worker has looked at every module, so that what the welcome suggests works.
    For one that takes long to load it does not wait once another has loaded."""
    modules = _modules(lanework.settings)
    deadline = time.monotonic() + _START
    loaded_by = deadline
    ready = f"http://{lanework.settings.host}:{lanework.settings.port}/readyz"
    async with httpx.AsyncClient(trust_env=False) as client:
        while not stop.is_set() and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError, StoreUnavailable):
                known = (await lanework.functions()).keys() - NAMES
                if (known or not modules) and await lanework.workers() and (await client.get(ready)).is_success:
                    loaded_by = min(loaded_by, time.monotonic() + _LOAD)
                    if modules <= known or time.monotonic() >= loaded_by:
                        return True
            await asyncio.sleep(0.05)
    return False


def _modules(settings: Settings) -> set[str]:
    """The names of the functions that there should be."""
    found = {path.stem for path in settings.functions_dir.glob("*.py") if NAME.fullmatch(path.stem)}
    return found & set(settings.functions) if settings.functions else found


def _environment(settings: Settings) -> dict[str, str]:
    values = {
        "REDIS_URL": settings.redis_url,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "GRPC_PORT": "" if settings.grpc_port is None else str(settings.grpc_port),
        "FUNCTIONS_DIR": str(settings.functions_dir.resolve()),
        "CONCURRENCY": str(settings.concurrency),
        "PROCESSES": str(settings.processes),
        "WATCH": str(settings.watch),
        "HISTORY_URL": settings.history_url.get_secret_value(),
    }
    return {**os.environ, **{PREFIX + name: value for name, value in values.items()}}


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """One `up` a data folder. Raises SettingsInvalid."""
    with (data / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsInvalid(f"another `lanework up` runs on {data}; give this one --data") from None
        yield


def _grpc_port(settings: Settings) -> int | None:
    """Where it is named, that or a refusal; else the usual one, if it is free and gRPC is installed."""
    if settings.grpc_port is not None:
        require_installed()
        return free_port(settings.host, settings.grpc_port, "--grpc-port")
    try:
        require_installed()
        return free_port(settings.host, _GRPC_PORT, "--grpc-port")
    except SettingsInvalid as error:
        log.get("up").warning("grpc.off", why=str(error))
        return None


def _welcome(settings: Settings, data: Path, deployed: Mapping[str, Deployed], *, is_keyed: bool) -> None:
    """What it suggests works with the functions that are there."""
    functions = [name for name, function in deployed.items() if function.broken is None and name not in NAMES]
    url = f"http://localhost:{settings.port}"
    name, payload = ("math", '{"a":"5","b":"3"}')
    if "math" not in functions:
        name, payload = (functions or ["NAME"])[0], "{}"
    auth_option = '-H "Authorization: Bearer $LANEWORK_KEY" ' if is_keyed else ""
    url_option = "" if settings.port == 8080 else f" --url {url}"
    grpc = "" if settings.grpc_port is None else f" (gRPC on port {settings.grpc_port})"
    print(
        f"""
Lanework is up on {url}{grpc}; its functions are in {settings.functions_dir}/, its data in {data}/.

  curl {auth_option}--json '{{"type":"{name}","payload":{payload}}}' {url}/jobs
  curl {auth_option}'{url}/jobs?fields=result'    # what became of it
  {show.beside("lanework")} call {name} '{payload}' --wait{url_option}
  {show.beside("lanework")} functions{url_option}
  export REDIS_URL={settings.redis_url}    # for programs in Python

Ctrl-C stops it; jobs that still wait run after the next start.
""",
        flush=True,
    )
