"""What enqueues jobs needs none of what a server needs: `pip install lanework` is thin."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ABSENT = {
    requirement.split(">")[0]
    for extra in ("server", "embedded", "functions", "otel")
    for requirement in OPTIONAL[extra]
}
MODULES = {"pillow": "PIL"} | {f"opentelemetry-{name}": "opentelemetry" for name in ("api", "sdk")}
WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(MODULES.get(name, name) for name in ABSENT)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code):
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)


def test_something_is_optional():
    assert {"uvicorn", "uvloop", "httptools", "typer", "starlette"} <= ABSENT


@pytest.mark.parametrize(
    "code",
    [
        "from runtime.client import Lanework, LaneworkSync",
        "from runtime import function, Context, Hook; function(schedule='* * * * *')(lambda n: n)",
        "from runtime.jobs.request import JobRequest; JobRequest('f', callback='https://example.com').check()",
        "import runtime.pytest_plugin",
    ],
)
def test_clients_and_functions_do_without(code):
    done = run(code)

    assert done.returncode == 0, done.stderr


def test_the_command_says_what_to_install():
    done = run("from runtime.cli.command import main; main()")

    assert done.returncode == 1
    assert "pip install 'lanework[server]'" in done.stderr
    assert "Traceback" not in done.stderr
