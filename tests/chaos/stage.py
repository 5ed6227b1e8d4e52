"""A server with an append-only file and some workers, all of which may be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from runtime import settings
from runtime.store import embedded

WORKERS = 3
LEASE = 2.0
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Stage:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lanework-chaos-")
        self.data = Path(self._folder.name)
        self.ledger = self.data / "ledger"
        self.ledger.touch()
        self.url = f"unix://{embedded.socket_path(self.data)}"
        self.settings = settings.load({}, redis_url=self.url, lease=LEASE)
        self.server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        self.start_server()
        self.workers = [self.start_worker() for _ in range(WORKERS)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.workers, *([self.server] if self.server else [])):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        if kind is not None:
            sys.stderr.write((self.data / "log").read_text()[-5000:])
        self._folder.cleanup()

    def start_server(self) -> None:
        # `always`: an answer is given after the write has reached the file, so that kill -9 loses none
        command = [*embedded.command(self.data), "--appendfsync", "always"]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not embedded.answers(self.data):
            if time.monotonic() > deadline:
                raise RuntimeError("the server does not start")
            time.sleep(0.01)

    def start_worker(self) -> subprocess.Popen[bytes]:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LANEWORK_")},
            "LANEWORK_REDIS_URL": self.url,
            "LANEWORK_LEASE": str(LEASE),
            "LANEWORK_SHARDS": str(self.settings.shards),
            "LANEWORK_CRASH_LIMIT": "100",
            "LANEWORK_GRACE": "2",
            "LANEWORK_WORKER_PORT": "0",
            "LANEWORK_FUNCTIONS_DIR": str(HERE / "functions"),
            "LANEWORK_CONCURRENCY": "50",
            "LANEWORK_LOG_FORMAT": "json",
            "CHAOS_LEDGER": str(self.ledger),
        }
        with (self.data / "log").open("ab") as log:
            command = [sys.executable, "-m", "runtime.cli.main", "worker"]
            return subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)

    def restore(self) -> None:
        """Everything runs again."""
        assert self.server is not None
        self.server.send_signal(signal.SIGCONT)
        if self.server.poll() is not None:
            self.start_server()
        self.restore_workers()

    def restore_workers(self) -> None:
        for index, worker in enumerate(self.workers):
            worker.send_signal(signal.SIGCONT)
            if worker.poll() is not None:
                self.workers[index] = self.start_worker()
