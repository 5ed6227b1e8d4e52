"""Commands that change jobs and queues, over HTTP."""

from __future__ import annotations

from typing import Any

from runtime.cli import show
from runtime.cli.remote import ask, client, segment
from runtime.settings import Settings


def change_job(
    settings: Settings, method: str, path: str, as_json: bool, body: dict[str, Any] | None = None
) -> int:
    """Changes one job, and shows it."""
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
        path = f"/functions/{segment(function)}/{verb}"
    elif lane is not None:
        path = f"/lanes/{segment(lane)}/{verb}"
    with client(settings) as http:
        code, reply = ask(http, "POST", path)
    if reply is not None:
        show.note(reply["message"])
    return code


def clear(settings: Settings, function: str, status: str) -> int:
    """Cancels a function's waiting jobs, one batch per request."""
    count, partial = 0, True
    with client(settings) as http:
        while partial:
            path = f"/functions/{segment(function)}/jobs"
            code, reply = ask(http, "DELETE", path, params={"status": status}, timeout=60)
            if reply is None:
                return code
            count, partial = count + reply["cancelled"], reply["partial"]
            if partial:
                show.note(f"{count} jobs cancelled so far")
    show.note(f"{count} jobs cancelled")
    return show.DONE


def dead(settings: Settings, function: str, limit: int, cursor: str | None, as_json: bool) -> int:
    """A function's failed jobs."""
    params = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
    with client(settings) as http:
        code, page = ask(http, "GET", f"/functions/{segment(function)}/dead", params=params)
    if page is None:
        return code
    if as_json:
        show.json(page)
    else:
        columns = ["id", "function", "lane", "status", "attempt", "created", "error"]
        show.table(columns, [show.job_row(job) for job in page["jobs"]], f"no failed jobs of {function}")
        if page["cursor"]:
            show.note(f"more: lanework dead {function} --limit {limit} --cursor {page['cursor']}")
    return show.DONE


def replay(settings: Settings, function: str, options: dict[str, Any]) -> int:
    """`options`: which of them, and at which `rate`."""
    body = {name: value for name, value in options.items() if value is not None}
    with client(settings) as http:
        code, reply = ask(http, "POST", f"/functions/{segment(function)}/dead/replay", json=body, timeout=60)
    if reply is not None:
        show.note(f"{reply['replayed']} jobs run again")
    return code


def purge(settings: Settings, function: str, options: dict[str, Any]) -> int:
    """`options`: which of them."""
    with client(settings) as http:
        params = {name: value for name, value in options.items() if value is not None}
        code, reply = ask(http, "DELETE", f"/functions/{segment(function)}/dead", params=params, timeout=60)
    if reply is not None:
        show.note(f"{reply['purged']} failed jobs deleted")
    return code
