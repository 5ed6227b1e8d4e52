"""Prometheus under Compose: it finds every replica, and has what the dashboard asks for."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest

from tests.containers.conftest import ROOT, Stack, needed
from tests.servers import until

pytestmark = pytest.mark.containers
GRAFANA = ROOT / "deploy" / "grafana"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """With three workers, and a Prometheus that scrapes twice a second."""
    needed("PROMETHEUS_IMAGE", "PYTHON_IMAGE", "REDIS_IMAGE", "POSTGRES_IMAGE")
    folder = tmp_path_factory.mktemp("monitored")
    shutil.copytree(ROOT / "deploy" / "prometheus", folder / "prometheus")
    config = folder / "prometheus" / "prometheus.yml"
    config.write_text(config.read_text().replace("15s", "500ms"))
    compose = Stack(folder)
    compose.override(services={"prometheus": {"volumes": [f"{folder}/prometheus:/etc/prometheus:ro"]}})
    try:
        compose.up("--scale", "worker=3")
        compose("up", "--detach", "--wait", "prometheus")
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def prometheus(stack):
    url = f"http://127.0.0.1:{stack.prometheus_port}/api/v1"
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as http:
        yield http


def found(prometheus, expression):
    reply = prometheus.get("/query", params={"query": expression}).raise_for_status().json()
    return reply["data"]["result"]


def test_every_replica_is_found_and_scraped(stack, prometheus):
    until(lambda: len(found(prometheus, 'up{job="lanework-worker"} == 1')) == 3, "three workers")
    until(lambda: len(found(prometheus, 'up{job="lanework-gateway"} == 1')) == 1, "a gateway")

    stack("up", "--detach", "--no-recreate", "--scale", "worker=4", "worker")
    until(lambda: len(found(prometheus, 'up{job="lanework-worker"} == 1')) == 4, "the fourth worker")


def test_the_rules_are_loaded_and_nothing_fires(prometheus):
    rules = prometheus.get("/rules").json()["data"]["groups"]
    firing = [a["labels"] for a in prometheus.get("/alerts").json()["data"]["alerts"] if a["state"] == "firing"]

    assert {group["name"] for group in rules} == {"lanework", "lanework-alerts"}
    assert [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"] == []
    assert firing == []


def test_every_query_of_the_dashboard_has_data(stack, prometheus):
    with stack.http() as http:
        for payload in ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}):
            job = http.post("/jobs", json={"type": "math", "payload": payload}).json()
            http.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=20"})
        dashboard = json.loads((GRAFANA / "dashboards" / "lanework.json").read_text())
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

        def post():
            http.post("/jobs", json={"type": "math", "payload": {"a": "1", "b": "2"}})
            return True

        for query in queries:
            asked = query.replace("$function", ".*").replace("$__rate_interval", "1m")
            until(lambda asked=asked: post() and bool(found(prometheus, asked)), f"data for {asked}")


def test_the_dashboard_fits_together():
    dashboard = json.loads((GRAFANA / "dashboards" / "lanework.json").read_text())
    panels = dashboard["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    sources = {target["datasource"]["uid"] for panel in panels for target in panel["targets"]}

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert [
        f"uid: {uid}" in (GRAFANA / "provisioning/datasources/lanework.yml").read_text() for uid in sources
    ] == [True]
