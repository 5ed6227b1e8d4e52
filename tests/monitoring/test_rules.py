"""The rules and alerts that are shipped, as Prometheus' own tool sees them, and where a pager finds what to do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.conftest import DEPLOY, RULES
from tests.servers import missing

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", DEPLOY / "prometheus" / "prometheus.yml"),
        ("check", "rules", RULES),
        ("test", "rules", Path(__file__).parent / "alerts.test.yml"),
    ],
)
def test_promtool_finds_nothing(arguments):
    if shutil.which("promtool") is None:
        missing("promtool")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_says_how_urgent_it_is_and_has_a_runbook(rule):
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in ("page", "warn")
    assert page == "docs/operations.md"
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_each_alert_is_made_to_fire_by_a_test():
    tried = (Path(__file__).parent / "test_alerts.py").read_text()

    assert [rule["alert"] for rule in alerts() if f'"{rule["alert"]}"' not in tried] == []
