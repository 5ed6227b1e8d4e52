"""Whether what a container runs is well: a gateway answers, a worker's threads live, history is written.

The part is read from the command line of process 1, its port from there or from the settings. What is no server,
such as `keys new`, is always well. Exit codes: 0 well, 1 not, with the reason on standard output.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

PROBES = {"gateway": ("LANEWORK_PORT", 8080, "/readyz"), "worker": ("LANEWORK_WORKER_PORT", 9100, "/healthz")}


def main(words: list[str]) -> str:
    """What is wrong; "" where nothing is. `words`: the command line of process 1."""
    names = [Path(word).name for word in words]
    command = words[names.index("lanework") + 1 :] if "lanework" in names else [""]
    if command[0] in PROBES:
        setting, default, path = PROBES[command[0]]
        port = _option(command, "--port") or os.environ.get(setting) or default
        return _answers(f"http://{_host(command)}:{port}{path}")
    if command[:2] == ["history", "run"]:
        done = subprocess.run(
            ["lanework", "history", "status"], capture_output=True, text=True, timeout=9, check=False
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr
    return ""


def _option(words: list[str], name: str) -> str | None:
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _host(words: list[str]) -> str:
    """Where it listens, as seen from here."""
    host = _option(words, "--host") or os.environ.get("LANEWORK_HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _answers(url: str) -> str:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=8):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    problem = main(Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0"))
    print(problem, end="")
    sys.exit(bool(problem))
