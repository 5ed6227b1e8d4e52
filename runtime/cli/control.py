"""Commands that change jobs and queues, over HTTP."""

from __future__ import annotations

from typing import Any

from runtime.cli import show
from runtime.cli.remote import ask, client
from runtime.settings import Settings


def one(settings: Settings, method: str, path: str, as_json: bool, body: dict[str, Any] | None = None) -> int:
    """Asks for a change of one job, and shows it."""
    with client(settings) as http:
        code, job = ask(http, method, path, **({} if body is None else {"json": body}))
    if job is not None:
        show.json(job) if as_json else show.note(f"job {job['id']} is {job['status']}{_soon(job)}")
    return code


def _soon(job: dict[str, Any]) -> str:
    if job["status"] == "scheduled":
        return f" for {job['run_at']}"
    return "; its attempt is being stopped" if job["cancel_requested_at"] and job["status"] == "running" else ""


def pause(settings: Settings, verb: str, function: str | None, lane: str | None) -> int:
    path = f"/jobs/{verb}"
    if function is not None:
        path = f"/functions/{function}/{verb}"
    elif lane is not None:
        path = f"/lanes/{lane}/{verb}"
    with client(settings) as http:
        code, reply = ask(http, "POST", path)
    if reply is not None:
        show.note(reply["message"])
    return code


def dead(settings: Settings, function: str, limit: int, as_json: bool) -> int:
    """A function's failed jobs."""
    with client(settings) as http:
        code, page = ask(http, "GET", f"/functions/{function}/dead", params={"limit": limit})
    if page is None:
        return code
    if as_json:
        show.json(page)
    else:
        columns = ["id", "function", "lane", "status", "attempt", "created", "error"]
        show.table(columns, [show.job_row(job) for job in page["jobs"]], f"no failed jobs of {function}")
    return show.DONE


def replay(settings: Settings, function: str, error: str | None, rate: str | None, limit: int | None) -> int:
    asked = {"error": error, "rate": rate, "limit": limit}
    body = {name: value for name, value in asked.items() if value is not None}
    with client(settings) as http:
        code, reply = ask(http, "POST", f"/functions/{function}/dead/replay", json=body, timeout=60)
    if reply is not None:
        show.note(f"{reply['replayed']} jobs run again")
    return code


def purge(settings: Settings, function: str, error: str | None, limit: int | None) -> int:
    with client(settings) as http:
        asked = {"error": error, "limit": limit}
        params = {name: value for name, value in asked.items() if value is not None}
        code, reply = ask(http, "DELETE", f"/functions/{function}/dead", params=params, timeout=60)
    if reply is not None:
        show.note(f"{reply['purged']} failed jobs deleted")
    return code
