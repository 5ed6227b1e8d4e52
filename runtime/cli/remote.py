"""Commands that talk to a gateway over HTTP, so that they work wherever it does."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import typer

from runtime.cli import show
from runtime.errors import SettingsInvalid
from runtime.jobs.job import SETTLED
from runtime.settings import Settings
from runtime.values import codec

_STEP = 30.0


def call(
    settings: Settings, function: str, payload: str, options: dict[str, Any], wait: float | None, as_json: bool
) -> int:
    """Enqueues; with `wait`, follows the job for that many seconds and prints its result."""
    try:
        parsed = codec.from_json(
            (sys.stdin.read() if payload == "-" else payload).encode("utf-8", "surrogateescape")
        )
    except ValueError as error:
        show.error("bad-json", f"the payload is not JSON ({error}); quote it, such as '{{\"a\": 5}}'")
        return show.USAGE
    set_options = {name: value for name, value in options.items() if value is not None}
    body = {"type": function, "payload": parsed, **set_options}
    with client(settings) as http:
        code, job = ask(http, "POST", "/jobs", json=body)
        if job is None:
            return code
        if wait is None:
            show.json(job) if as_json else print(job["id"])
            return show.DONE
        try:
            return _follow(http, job, wait, as_json)
        except KeyboardInterrupt:
            print(job["id"])
            show.note(f"the job goes on: lanework job {job['id']}")
            return show.INTERRUPTED


def _follow(http: httpx.Client, job: dict[str, Any], wait: float, as_json: bool) -> int:
    deadline = time.monotonic() + wait
    while job["status"] not in SETTLED:
        left = deadline - time.monotonic()
        if left <= 0:
            show.error("timeout", f"job {job['id']} is {job['status']} after {wait:g} s; it goes on")
            return show.UNAVAILABLE
        step = max(1, int(min(_STEP, left)))
        code, seen = ask(http, "GET", f"/jobs/{job['id']}", headers={"Prefer": f"wait={step}"}, timeout=step + 10)
        if seen is None:
            return code
        job = seen
    if as_json:
        show.json(job)
    elif job["status"] == "completed":
        show.json(job["result"])
    else:
        failure = job["error"] or {"type": job["status"], "message": "", "traceback": None}
        show.error(f"job-{job['status']}", f"{failure['type']}: {failure['message']} (job {job['id']})")
        if failure.get("traceback"):
            show.note(failure["traceback"])
    return show.DONE if job["status"] == "completed" else show.FAILED


def jobs(
    settings: Settings, limit: int, cursor: str | None, filters: Mapping[str, str | None], as_json: bool
) -> int:
    """`filters`: parameters of the query by name."""
    given = {name: value for name, value in filters.items() if value is not None}
    place = {} if cursor is None else {"cursor": cursor}
    with client(settings) as http:
        params = {"limit": limit, "fields": "payload,result", **given, **place}
        code, page = ask(http, "GET", "/jobs", params=params)
        if page is None:
            return code
    if as_json:
        show.json(page)
        return show.DONE
    columns = ["id", "function", "lane", "status", "attempt", "created", "result or error"]
    show.table(columns, [show.job_row(job) for job in page["jobs"]], "no jobs")
    if page["cursor"]:
        options = "".join(f" {_option(name, value)}" for name, value in given.items())
        why = "not everything was looked at; " if page["partial"] else ""
        show.note(f"{why}more: lanework jobs --limit {limit}{options} --cursor {page['cursor']}")
    return show.DONE


def payload_filters(pairs: Sequence[str]) -> dict[str, str | None]:
    """Parameters of the query, from `path=value`."""
    filters: dict[str, str | None] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not path or not equals:
            raise typer.BadParameter("is a path and a value, such as to=ann@example.com", param_hint="--payload")
        filters[f"payload.{path}"] = value
    return filters


def _option(name: str, value: str) -> str:
    """As the command takes it."""
    if name.startswith("payload."):
        name, value = "payload", f"{name.removeprefix('payload.')}={value}"
    return f"--{name} {shlex.quote(value)}"


def functions(settings: Settings, as_json: bool) -> int:
    with client(settings) as http:
        code, reply = ask(http, "GET", "/functions")
        if reply is None:
            return code
    if as_json:
        show.json(reply)
        return show.DONE
    rows = []
    for fn in reply["functions"]:
        about = fn["doc"].partition("\n")[0] if fn["serves"] == fn["name"] else f"alias of {fn['serves']}"
        versions = Counter(worker["version"] or "-" for worker in fn["workers"])
        running = ", ".join(f"{count} x {version}" for version, count in versions.most_common()) or "none"
        policy = (fn["lane"], fn["isolation"], f"{fn['timeout']:g} s", fn["max_attempts"])
        rows.append((fn["name"], *policy, running, fn["waiting"], fn["trouble"] or about))
    columns = ["function", "lane", "runs in", "timeout", "attempts", "workers", "waiting", "about"]
    show.table(columns, rows, "no functions are deployed")
    for fn in reply["functions"]:
        if fn["broken"] and fn["serves"] == fn["name"]:
            show.error("function-broken", f"{fn['name']}\n{fn['broken']}")
    return show.DONE


def job(settings: Settings, job_id: str, as_json: bool) -> int:
    """One job, whole."""
    with client(settings) as http:
        code, found = ask(http, "GET", f"/jobs/{segment(job_id)}")
    if found is not None:
        show.json(found) if as_json else show.job(found)
    return code


def workers(settings: Settings, as_json: bool) -> int:
    with client(settings) as http:
        code, reply = ask(http, "GET", "/workers")
    if reply is None:
        return code
    if as_json:
        show.json(reply)
        return show.DONE
    columns = ["worker", "since", "async", "processes", "functions", "does not load"]
    rows = [
        (
            w["id"],
            w["started_at"],
            w["concurrency"],
            w["processes"],
            ", ".join(w["functions"]),
            ", ".join(w["broken"]),
        )
        for w in reply["workers"]
    ]
    show.table(columns, rows, "no worker is alive")
    return show.DONE


def client(settings: Settings) -> httpx.Client:
    """Makes a client of the gateway. Raises SettingsInvalid for a malformed URL or access key."""
    try:
        key = settings.key.get_secret_value()
        if not re.fullmatch("[!-~]*", key):  # an error about the header would show it
            raise SettingsInvalid("LANEWORK_KEY is no access key: those begin with lw_, and have no spaces")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=settings.url, headers=headers, timeout=10, trust_env=False)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SettingsInvalid(f"{settings.url!r} is not the URL of a gateway ({error})") from None


def segment(text: str) -> str:
    """A name or an id as one segment of a path, whatever it has in it (RFC 3986)."""
    return quote(text, safe="", errors="replace").replace(".", "%2E")


def ask(http: httpx.Client, method: str, path: str, **arguments: Any) -> tuple[int, Any]:
    """The exit code and, where all is well, the reply."""
    try:
        reply = http.request(method, path, **arguments)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        show.error(
            "no-answer",
            f"{http.base_url} does not answer ({error or type(error).__name__}); is `lanework up` running?",
        )
        return show.UNAVAILABLE, None
    if reply.is_success:
        return show.DONE, reply.json()
    try:
        problem = reply.json()
        code = str(problem["type"]).rpartition("/")[2]
        show.error(code, problem["detail"])
        if code == "access-denied":
            show.note("commands take the key from LANEWORK_KEY")
    except (ValueError, KeyError, TypeError):
        show.error("no-answer", f"{http.base_url} is not a Lanework gateway: it answered {reply.status_code}")
    return (show.UNAVAILABLE if reply.status_code >= 500 else show.REFUSED), None
