"""The README's commands, run as they stand there, in a copy of what is tracked: they cannot rot."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
SHELL = [text.strip() for language, text in BLOCKS if language == "sh"]
PYTHON = [text for language, text in BLOCKS if language == "python"]


def run(command, cwd, **more):
    return subprocess.run(
        command, shell=True, cwd=cwd, capture_output=True, text=True, check=False, timeout=300, **more
    )


@pytest.fixture(scope="module")
def lanework(tmp_path_factory):
    """`make up` in a fresh copy, with the README's own function in it."""
    place = tmp_path_factory.mktemp("clone") / "lanework"
    for name in subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True
    ).split("\n"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    (place / "functions" / "words.py").write_text(PYTHON[0])
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LANEWORK_", "REDIS_", "MAKE"))}
    env["LANEWORK_URL"] = f"http://127.0.0.1:{port}"
    command = [*SHELL[0].split(), f"ARGS=--port {port}"]
    with (place / "up.log").open("w") as log:
        up = subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    while "Lanework is up" not in (place / "up.log").read_text():
        assert up.poll() is None, (place / "up.log").read_text()
        assert time.monotonic() < deadline, (place / "up.log").read_text()
        time.sleep(0.1)
    yield place, port, env
    os.killpg(up.pid, signal.SIGINT)
    assert up.wait(60) in (0, 2, -2)  # make tells of the interrupt in its own way


def test_the_two_commands_come_first():
    assert SHELL[0] == "make up"
    assert "make test" in SHELL


def test_what_the_readme_says_to_try_works(lanework):
    place, port, env = lanework

    for line in SHELL[1].splitlines():
        done = run(line.replace("8080", str(port)), place, env=env)
        assert done.returncode == 0, (line, done.stderr)

    jobs = httpx.get(f"http://127.0.0.1:{port}/jobs?fields=result", trust_env=False).json()["jobs"]
    assert {job["type"] for job in jobs} == {"math"}
    assert jobs[0]["result"] == 8


def test_what_the_welcome_suggests_works(lanework):
    place, _port, env = lanework
    welcome = (place / "up.log").read_text()
    suggested = [line.strip() for line in welcome.splitlines() if line.startswith("  ") and "{" not in line[:3]]
    commands = [line for line in suggested if line.startswith(("curl", ".venv"))]

    assert len(commands) == 4
    for line in commands:
        done = run(line, place, env=env)
        assert done.returncode == 0, (line, done.stderr)


def test_the_function_of_the_readme_runs(lanework):
    place, port, env = lanework

    call = ".venv/bin/lanework call words"
    good = run(call + """ '{"text": "to be or not", "least": 3}' --wait""", place, env=env)
    bad = run(call + """ '{"text": " "}' --wait""", place, env=env)
    wrong = httpx.post(f"http://127.0.0.1:{port}/jobs", json={"type": "words"}, trust_env=False)

    assert json.loads(good.stdout) == {"words": 1}
    assert bad.returncode == 1
    assert "there is no text" in bad.stderr
    assert [e["field"] for e in wrong.json()["errors"]] == ["/text"]


def test_the_python_client_of_the_readme_runs(lanework):
    place, _port, env = lanework
    source = PYTHON[1].replace("100_000", "1000")
    script = "import asyncio\nasync def main():\n" + textwrap.indent(source, "    ") + "\nasyncio.run(main())"
    (url,) = re.findall(r"export REDIS_URL=(\S+)", (place / "up.log").read_text())

    done = subprocess.run(
        [str(place / ".venv/bin/python"), "-c", script],
        cwd=place,
        env=env | {"REDIS_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "8\n"), done.stderr


def test_make_help_lists_every_target():
    done = run("make help", ROOT)

    for target in ("up", "test", "check", "bench", "lock"):
        assert f"make {target} " in done.stdout


def test_the_readme_tells_of_every_path_of_the_api():
    from runtime import settings
    from runtime.gateway.app import create_app
    from runtime.gateway.connect import is_method

    for route in create_app(settings.load({})).routes:
        path = route.path.replace(":path", "")
        named = path[1:].rpartition("/")[0] if is_method(path) else path  # of a method, its service
        assert named in README or path in ("/health", "/docs/{file}"), path


def test_python_here_is_one_that_the_readme_allows():
    assert sys.version_info >= (3, 11)
