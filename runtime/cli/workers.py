"""`lanework worker --workers N`: several workers, each a process of its own, as if they were one."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from runtime import log
from runtime.cli import show
from runtime.cli.serve import port_taken
from runtime.cli.supervised import Supervised
from runtime.errors import SettingsInvalid
from runtime.settings import PREFIX, Settings
from runtime.worker.metrics_port import MetricsPort

_MOST = 256
_ANSWER = 2.0  # seconds for one worker's figures
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_FINAL = (show.USAGE, show.REFUSED)  # another start would end so too


def run(settings: Settings, count: str) -> int:
    """Until SIGTERM or SIGINT, or until a worker refuses to start. `count`: a number, or `auto`. Raises
    SettingsInvalid."""
    number = cpus() if count == "auto" else int(count) if count.isascii() and count.isdecimal() else 0
    if not 1 <= number <= _MOST:
        raise SettingsInvalid(f"--workers is a number from 1 to {_MOST}, or auto, not {count[:50]!r}")
    log.configure(settings)
    try:
        port = MetricsPort(socket.create_server((settings.host, settings.worker_port)))
    except OSError as error:
        show.error("port-taken", port_taken(settings, error))
        return show.FAILED
    return asyncio.run(_run(settings, port, number))


def cpus() -> int:
    """Those that this process may use: of its affinity, and of its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no quota ("max")
        return allowed


async def _run(settings: Settings, port: MetricsPort, count: int) -> int:
    stopping = asyncio.Event()
    workers = [_Worker(n, settings, port.address) for n in range(1, count + 1)]
    _stop_on_signals(stopping, workers)
    async with httpx.AsyncClient(timeout=_ANSWER, trust_env=False) as http:
        behind = _Behind(http, workers)
        port.start(behind.trouble, behind.metrics)
        log.get("workers").info("workers.starting", workers=count, metrics=f"{port.address}/metrics")
        running = [asyncio.create_task(worker.process.run(_FINAL)) for worker in workers]
        stopped = asyncio.create_task(stopping.wait())
        try:
            ended, _ = await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
            refused = [task.result() for task in running if task in ended]
        finally:
            await asyncio.gather(*(worker.process.stop(settings.grace + 10) for worker in workers))
        await asyncio.gather(*running)
        await port.close()
    stopped.cancel()
    log.get("workers").info("workers.left", workers=count)
    return refused[0] if refused else show.DONE


def _stop_on_signals(stopping: asyncio.Event, workers: Sequence[_Worker]) -> None:
    """A second signal ends everything at once, and leases run out."""

    def stop() -> None:
        if stopping.is_set():
            for worker in workers:
                worker.process.kill()
            os._exit(130)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


class _Worker:
    """One of them. Its port is made here, on loopback, and stays when the process is started again."""

    def __init__(self, number: int, settings: Settings, address: str) -> None:
        self.number = number
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        fd = self._listener.fileno()
        command = [sys.executable, "-m", "runtime.cli.main", "worker", "--listener", str(fd)]
        command += ["--metrics-url", f"{address}/metrics"]
        self.process = Supervised(f"worker {number}", command, _environment(settings), (fd,), part="workers")


def _environment(settings: Settings) -> dict[str, str]:
    """What a worker's options set, so that it need not be told by options again."""
    values = {
        "FUNCTIONS": ",".join(settings.functions),
        "FUNCTIONS_DIR": str(settings.functions_dir.resolve()),
        "CONCURRENCY": str(settings.concurrency),
        "PROCESSES": str(settings.processes),
        "WATCH": str(settings.watch),
    }
    return {**os.environ, **{PREFIX + name: value for name, value in values.items()}}


class _Behind:
    """What the workers behind the one port say."""

    def __init__(self, http: httpx.AsyncClient, workers: list[_Worker]) -> None:
        self._http = http
        self._workers = workers

    async def trouble(self) -> str | None:
        """Where no worker is well, that of the first. One alone is mended here, and no reason to end all."""
        reasons = []
        for reply, worker in zip(await self._ask("/healthz"), self._workers, strict=True):
            if reply is not None and reply.is_success:
                return None
            reason = "does not answer" if reply is None else reply.json()["status"]
            reasons.append(f"worker {worker.number}: {reason}")
        return reasons[0]

    async def metrics(self) -> bytes:
        """All figures, with the worker's number as label `process`."""
        replies = await self._ask("/metrics")
        texts = [(w.number, r.text) for r, w in zip(replies, self._workers, strict=True) if r is not None]
        registry = CollectorRegistry()
        registry.register(_Merged(texts))
        return generate_latest(registry)

    async def _ask(self, path: str) -> list[httpx.Response | None]:
        return await asyncio.gather(*(self._of(f"{worker.url}{path}") for worker in self._workers))

    async def _of(self, url: str) -> httpx.Response | None:
        try:
            return await self._http.get(url)
        except httpx.HTTPError:
            return None


class _Merged(Collector):
    def __init__(self, texts: Iterable[tuple[int, str]]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, text in self._texts:
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples += [
                    sample._replace(labels={**sample.labels, "process": str(number)}) for sample in family.samples
                ]
        yield from families.values()
