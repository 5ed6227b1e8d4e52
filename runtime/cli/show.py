"""What the command line prints: tables for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.settings import PREFIX, Settings

DONE, FAILED, USAGE, REFUSED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130

_COLOURS = {"completed": "green", "failed": "red", "running": "cyan", "scheduled": "yellow"}


def json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def error(code: str, message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error", "bold red"), f" {code}: {message}"))


def note(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(message, "dim"))


def beside(program: str) -> str:
    """What to type for a program installed beside this one: its path if below this folder, else its bare name."""
    path = Path(sys.argv[0]).resolve().with_name(program)
    if not path.exists():
        return program
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return program


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    if not rows:
        note(empty)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        shown.add_row(*(Text(str(cell), _COLOURS.get(str(cell), "")) for cell in row))
    # a pipe has no width of its own: lines there are not wrapped
    Console(width=None if sys.stdout.isatty() else 240).print(shown)


def job(job: Mapping[str, Any]) -> None:
    """One job, whole: what it is, what became of each attempt, and what went wrong."""
    fields = {name: job[name] for name in ("id", "type", "status", "lane")}
    fields["attempt"] = f"{job['attempt']} of {job['max_attempts']}"
    times = ("created_at", "run_at", "start_before", "started_at", "finished_at", "cancel_requested_at")
    fields |= {name: job[name] for name in times if job[name]}
    fields |= {name: orjson.dumps(job[name]).decode() for name in ("payload", "progress", "result")}
    fields |= {"tags": ", ".join(f"{name}:{value}" for name, value in job["tags"].items())} if job["tags"] else {}
    fields |= {"parent": job["parent"]} if job["parent"] else {}
    fields |= (
        {"then": ", ".join(f"{f['type']} {f['id']} ({' or '.join(f['on'])})" for f in job["then"])}
        if job["then"]
        else {}
    )
    fields |= {"children": ", ".join(job["children"])} if job["children"] else {}
    shown = Table(box=None, pad_edge=False, show_header=False)
    for name, value in fields.items():
        shown.add_row(Text(name, "bold"), Text(str(value), _COLOURS.get(str(value), ""), overflow="fold"))
    Console(width=None if sys.stdout.isatty() else 240).print(shown)
    if job["attempts"]:
        print()
        names = ("attempt", "outcome", "started_at", "ended_at", "worker", "version")
        rows = [
            [attempt[name] or "" for name in names] + [_error_text(attempt["error"])] for attempt in job["attempts"]
        ]
        table([*names, "error"], rows, "")
    if job["error"]:
        error(f"job-{job['status']}", _error_text(job["error"]))
        if job["error"].get("traceback"):
            note(job["error"]["traceback"])


def _error_text(error: Mapping[str, Any] | None) -> str:
    return f"{error.get('type')}: {error.get('message')}" if error else ""


def job_row(job: Mapping[str, Any]) -> list[str]:
    outcome = ""
    if job["error"]:
        outcome = f"{job['error']['type']}: {job['error']['message']}"
    elif job["status"] == "completed":
        outcome = "(large)" if job.get("result_omitted") else orjson.dumps(job["result"]).decode()
    elif job["progress"]:
        progress = job["progress"]
        outcome = f"{progress.get('done')}/{progress.get('total')} {progress.get('note') or ''}".strip()
    attempt = f"{job['attempt']}/{job['max_attempts']}"
    return [job["id"], job["type"], job["lane"], job["status"], attempt, job["created_at"], _short(outcome)]


def settings_table(settings: Settings, *, as_json: bool) -> None:
    values = {name: _plain(name, getattr(settings, name)) for name in Settings.model_fields}
    if as_json:
        json({PREFIX + name.upper(): value for name, value in values.items()})
        return
    rows = [
        (PREFIX + name.upper(), values[name], field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    table(["setting", "value here", "meaning"], rows, "")


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    if name == "redis_url":
        return _without_password(value)
    return value if isinstance(value, (int, float)) else str(value)


def _without_password(url: str) -> str:
    """A URL that may be shown: passwords never reach a terminal or a log."""
    parts = urlsplit(url)
    parts = parts._replace(query=re.sub(r"(password=)[^&]*", r"\1***", parts.query))
    if parts.password is not None:
        _, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{parts.username or ''}:***@{host}")
    return urlunsplit(parts)


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
