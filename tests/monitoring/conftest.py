"""A live Prometheus with the rules that are shipped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from runtime.store import embedded
from tests.servers import DEADLINE, free_port, missing, until

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "lanework.rules.yml"
SOON = 3  # seconds, in place of the 300 of which alerts about ages speak


class Prometheus:
    """Scrapes and evaluates twice a second; alerts fire at once, and call an age of three seconds old.

    `gateway`, `workers`: the ports where it looks for a gateway and for workers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.gateway, self.workers = free_port(), [free_port(), free_port()]
        rules = re.sub(r"for: \w+", "for: 0s", RULES.read_text()).replace("> 300", f"> {SOON}")
        (folder / "lanework.rules.yml").write_text(rules)
        jobs = {"lanework-gateway": [self.gateway], "lanework-worker": self.workers}
        scraped = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in jobs.items()
        ]
        every = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        config = {"global": every, "rule_files": ["lanework.rules.yml"], "scrape_configs": scraped}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False)
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ]
        )
        until(lambda: self._answers(), "Prometheus")

    def query(self, expression: str) -> list[dict[str, object]]:
        reply = self._http.get("/query", params={"query": expression}).raise_for_status().json()
        found: list[dict[str, object]] = reply["data"]["result"]
        return found

    def firing(self) -> set[str]:
        alerts = self._http.get("/alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def await_firing(self, alert: str) -> None:
        until(lambda: alert in self.firing(), f"alert {alert}", lambda: f"firing: {self.firing()}")

    def await_data(self, expression: str) -> None:
        until(lambda: bool(self.query(expression)), f"data for {expression}")

    def close(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(DEADLINE)

    def _answers(self) -> bool:
        try:
            return bool(self._http.get("/status/runtimeinfo").is_success)
        except httpx.TransportError:
            return False


class Server:
    """A Valkey of the test's own, which it may do anything to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(embedded.command(folder), stdout=quiet, stderr=quiet)
        until(lambda: embedded.answers(folder), "the embedded server")
        self.url = f"unix://{embedded.socket_path(folder)}"
        self.client = redis.Redis.from_url(self.url)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own = Server(tmp_path / "valkey")
    yield own
    own.client.close()
    own.process.kill()
    own.process.wait(DEADLINE)


@pytest.fixture
def server_url(server: Server) -> str:
    """In place of the one that tests share: alerts are about the server too."""
    return server.url


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        missing("prometheus")
    live = Prometheus(tmp_path / "prometheus")
    yield live
    live.close()
