"""The units for machines without containers, as systemd's own tool reads them."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import settings
from runtime.settings import PREFIX, Settings
from tests.servers import missing

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


def read(name):
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read(UNITS / name)
    return parsed


def test_systemd_finds_nothing_wrong(tmp_path):
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze")
    program = Path(sys.executable).with_name("lanework")
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.target")):
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/lanework/bin/lanework", str(program)))

    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, [line for line in done.stderr.splitlines() if "lanework" in line]) == (0, [])


@pytest.mark.parametrize("name", SERVICES)
def test_a_stop_leaves_time_to_drain(name):
    assert float(read(name)["Service"]["TimeoutStopSec"]) > settings.load({}).grace


@pytest.mark.parametrize("name", SERVICES)
def test_a_part_is_a_command_of_laneworks(name):
    words = read(name)["Service"]["ExecStart"].split()
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli.main", *words[1:], "--help"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_are_laneworks():
    lines = [line.lstrip("#") for line in (UNITS / "lanework.env").read_text().splitlines() if "=" in line]
    known = {PREFIX + name.upper() for name in Settings.model_fields}

    assert {line.partition("=")[0] for line in lines} <= known
