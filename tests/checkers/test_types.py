"""Type checkers accept what users write, and refuse each mistake where it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MYPY = ["mypy", "--strict", "--ignore-missing-imports", "--explicit-package-bases", "--cache-dir", "/dev/null"]
PYRIGHT = ["basedpyright", "--level", "error", "--pythonpath", sys.executable]


@pytest.fixture(scope="module", params=[MYPY, PYRIGHT], ids=["mypy", "pyright"])
def errors(request):
    """Those that a checker finds, by file and line."""
    files = [*sorted((ROOT / "functions").glob("*.py")), *sorted(HERE.glob("*_of_a_user.py"))]
    command = [sys.executable, "-m", *request.param, *map(str, files)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(r"(\w+)\.py:(\d+)(?::\d+)?(?: -|:) error", checked.stdout)
    assert found, checked.stdout + checked.stderr
    return {(file, int(line)) for file, line in found}


def test_each_mistake_is_found_and_nothing_else(errors):
    text = (HERE / "mistakes_of_a_user.py").read_text()
    marked = {number for number, line in enumerate(text.splitlines(), 1) if "  # " in line}

    assert errors == {("mistakes_of_a_user", number) for number in marked}
