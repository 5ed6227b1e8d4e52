"""`lanework`: run Lanework, and talk to one that runs.

Each command imports what it needs, so that `lanework call` does not wait for a server's modules.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from runtime import settings
from runtime.cli import history, keys, outbox, show
from runtime.cli.data import Data, settings_of
from runtime.errors import LaneworkError

app = typer.Typer(
    name="lanework",
    help="Functions that appear when a file is dropped in. `lanework up` starts everything on this machine.",
    epilog="Exit codes: 0 done, 1 the job or a process failed, 2 wrong usage, 3 refused, 4 no answer, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(keys.app, name="keys")
app.add_typer(history.app, name="history")
app.add_typer(outbox.app, name="outbox")

_AWAY = ("store-unavailable", "history-unavailable")
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
Functions = Annotated[Path | None, typer.Option("--functions-dir", help="Where the function modules are.")]
Concurrency = Annotated[int | None, typer.Option(help="Attempts of async functions at once in one worker.")]
Processes = Annotated[int | None, typer.Option(help="Attempts of def functions at once, each in a process.")]
Watch = Annotated[bool | None, typer.Option("--watch/--no-watch", help="Follow changes of the functions.")]
JobId = Annotated[str, typer.Argument(help="The job's id.")]
OneFunction = Annotated[str | None, typer.Argument(help="Only this function.")]
OneLane = Annotated[str | None, typer.Option(help="Only this lane.")]
Gateway = Annotated[str | None, typer.Option("--url", help="The gateway. [default: http://127.0.0.1:8080]")]


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="The gateway's port. [default: 8080]")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="The gateway's port for gRPC. [default: 50051, if it is free]")
    ] = None,
    data: Annotated[Path, typer.Option(help="Where the server keeps its data.")] = Path(".lanework"),
    functions: Annotated[
        Path | None, typer.Option(help="Where the function modules are. [default: functions]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    concurrency: Concurrency = None,
    processes: Processes = None,
    watch: Watch = None,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Keep what has settled in a file of the data folder.")
    ] = True,
) -> None:
    """Run everything here: an embedded Valkey, the gateway, workers and history. Ctrl-C stops them cleanly."""
    from runtime.cli.up import run

    loaded = settings.load(
        port=port,
        grpc_port=grpc_port,
        functions_dir=functions,
        concurrency=concurrency,
        processes=processes,
        watch=watch,
    )
    sys.exit(run(loaded, data, workers, history=history))


@app.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8080]")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC, such as 50051; 0 picks one. [default: none]")
    ] = None,
) -> None:
    """Run the gateway, for HTTP and, where a port is named, for gRPC."""
    from runtime.cli import serve

    sys.exit(serve.gateway(settings.load(host=host, port=port, grpc_port=grpc_port)))


@app.command()
def worker(
    functions: Annotated[str | None, typer.Option(help="Only these functions, such as thumbnail,email.")] = None,
    functions_dir: Functions = None,
    concurrency: Concurrency = None,
    processes: Processes = None,
    watch: Watch = None,
    port: Annotated[
        int | None, typer.Option(help="Port of /metrics and /healthz; 0 picks one. [default: 9100]")
    ] = None,
    workers: Annotated[
        str, typer.Option(help="How many to run, each a process, with one port and one end; auto: one a CPU.")
    ] = "1",
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
    metrics_url: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a worker, or several."""
    from runtime.cli import serve

    loaded = settings.load(
        functions=functions,
        functions_dir=functions_dir,
        concurrency=concurrency,
        processes=processes,
        watch=watch,
        worker_port=port,
    )
    if workers != "1":
        from runtime.cli.workers import run

        sys.exit(run(loaded, workers))
    sys.exit(serve.worker(loaded, None if listener is None else socket.socket(fileno=listener), metrics_url))


@app.command()
def call(
    function: Annotated[str, typer.Argument(help="The function's name.")],
    payload: Annotated[
        str, typer.Argument(help='JSON, such as \'{"a": 5, "b": 3}\'; - reads standard input.')
    ] = "null",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 300.0,
    priority: Annotated[str | None, typer.Option(help="A lane's name or number.")] = None,
    delay: Annotated[str | None, typer.Option(help="Start later, such as 10m.")] = None,
    at: Annotated[str | None, typer.Option(help="Start then, such as 2030-01-31T09:00:00Z.")] = None,
    unique: Annotated[
        str | None, typer.Option(help='"payload" or a key: no new job while one with the same is unfinished.')
    ] = None,
    json: AsJson = False,
    url: Gateway = None,
) -> None:
    """Enqueue a job."""
    from runtime.cli import remote

    options = {"priority": priority, "delay": delay, "run_at": at, "unique": unique}
    sys.exit(remote.call(settings.load(url=url), function, payload, options, timeout if wait else None, json))


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    type: Annotated[str | None, typer.Option(help="Jobs of this function.")] = None,
    status: Annotated[
        str | None, typer.Option(help="scheduled, pending, running, completed, failed, cancelled.")
    ] = None,
    lane: OneLane = None,
    tag: Annotated[str | None, typer.Option(help="Jobs with this tag, such as order:o1.")] = None,
    after: Annotated[str | None, typer.Option(help="Made then or later, such as 2026-01-31T08:00:00Z.")] = None,
    before: Annotated[str | None, typer.Option(help="Made then or earlier.")] = None,
    payload: Annotated[
        list[str] | None,
        typer.Option(help="Settled jobs with this in their payload, such as to=ann@example.com; needs a history."),
    ] = None,
    error: Annotated[
        str | None, typer.Option(help="Settled jobs whose error contains this; needs a history.")
    ] = None,
    cursor: Annotated[str | None, typer.Option(help="Continue after the page that showed this cursor.")] = None,
    json: AsJson = False,
    url: Gateway = None,
) -> None:
    """List jobs, newest first."""
    from runtime.cli import remote

    filters = {"type": type, "status": status, "lane": lane, "tag": tag, "after": after, "before": before}
    filters |= {"error": error, **remote.payload_filters(payload or [])}
    sys.exit(remote.jobs(settings.load(url=url), limit, cursor, filters, json))


@app.command()
def job(job: JobId, json: AsJson = False, url: Gateway = None) -> None:
    """Show one job whole: payload, result, error with its traceback, attempts, children."""
    from runtime.cli import remote

    sys.exit(remote.job(settings.load(url=url), job, json))


@app.command()
def workers(json: AsJson = False, url: Gateway = None) -> None:
    """List the workers that are alive."""
    from runtime.cli import remote

    sys.exit(remote.workers(settings.load(url=url), json))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The function's name: a-z, 0-9 and _.")],
    functions_dir: Functions = None,
    tests: Annotated[Path, typer.Option(help="Where its test goes.")] = Path("tests"),
    is_async: Annotated[
        bool, typer.Option("--async", help="For waiting on networks: on the event loop, not in a process.")
    ] = False,
) -> None:
    """Write a function to start from, and a test of it."""
    from runtime.cli.new import write

    sys.exit(write(settings.load(functions_dir=functions_dir), name, tests, is_async=is_async))


@app.command()
def functions(json: AsJson = False, url: Gateway = None) -> None:
    """List the functions: which are deployed, how many workers run each, and which do not load."""
    from runtime.cli import remote

    sys.exit(remote.functions(settings.load(url=url), json))


@app.command()
def cancel(job: JobId, json: AsJson = False, url: Gateway = None) -> None:
    """Cancel a job, wherever it is."""
    from runtime.cli import operations
    from runtime.cli.remote import segment

    sys.exit(operations.change_job(settings.load(url=url), "DELETE", f"/jobs/{segment(job)}", json))


@app.command()
def retry(job: JobId, json: AsJson = False, url: Gateway = None) -> None:
    """Run a failed job again, with its history."""
    from runtime.cli import operations
    from runtime.cli.remote import segment

    sys.exit(operations.change_job(settings.load(url=url), "POST", f"/jobs/{segment(job)}/retry", json))


@app.command()
def move(
    job: JobId,
    delay: Annotated[str | None, typer.Option(help="Start later, such as 10m.")] = None,
    at: Annotated[str | None, typer.Option(help="Start then, such as 2030-01-31T09:00:00Z.")] = None,
    json: AsJson = False,
    url: Gateway = None,
) -> None:
    """Start a scheduled job at another time; without one, now."""
    from runtime.cli import operations
    from runtime.cli.remote import segment

    body = {name: value for name, value in (("delay", delay), ("run_at", at)) if value is not None}
    loaded = settings.load(url=url)
    if body:
        sys.exit(operations.change_job(loaded, "PATCH", f"/jobs/{segment(job)}", json, body))
    sys.exit(operations.change_job(loaded, "POST", f"/jobs/{segment(job)}/run", json))


@app.command()
def pause(function: OneFunction = None, lane: OneLane = None, url: Gateway = None) -> None:
    """Stop taking jobs: all, a function's or a lane's. What runs finishes, and new jobs wait."""
    from runtime.cli import operations

    if function is not None and lane is not None:
        show.error("usage", "give a function or --lane, not both")
        sys.exit(show.USAGE)
    sys.exit(operations.pause(settings.load(url=url), "pause", function, lane))


@app.command()
def resume(function: OneFunction = None, lane: OneLane = None, url: Gateway = None) -> None:
    """Take jobs again after a pause: all, a function's or a lane's."""
    from runtime.cli import operations

    if function is not None and lane is not None:
        show.error("usage", "give a function or --lane, not both")
        sys.exit(show.USAGE)
    sys.exit(operations.pause(settings.load(url=url), "resume", function, lane))


@app.command()
def dead(
    function: Annotated[str, typer.Argument(help="The function's name.")],
    replay: Annotated[bool, typer.Option("--replay", help="Run them again.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete them.")] = False,
    error: Annotated[str | None, typer.Option(help="Only those whose error has this text.")] = None,
    rate: Annotated[str | None, typer.Option(help="Run them again at a rate, such as 10/s.")] = None,
    after: Annotated[str | None, typer.Option(help="Only those that failed after that time.")] = None,
    before: Annotated[str | None, typer.Option(help="Only those that failed before.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Continue after the page that showed this cursor.")] = None,
    json: AsJson = False,
    url: Gateway = None,
) -> None:
    """List a function's failed jobs, run them again, or delete them."""
    from runtime.cli import operations

    loaded = settings.load(url=url)
    if replay and purge:
        show.error("usage", "give --replay or --purge, not both")
        sys.exit(show.USAGE)
    which = {"error": error, "after": after, "before": before}
    if replay:
        sys.exit(operations.replay(loaded, function, {**which, "rate": rate, "limit": limit}))
    if purge:
        sys.exit(operations.purge(loaded, function, {**which, "limit": limit}))
    if any(which.values()):
        show.error("usage", "--error, --after and --before go with --replay or --purge")
        sys.exit(show.USAGE)
    sys.exit(operations.dead(loaded, function, limit or 50, cursor, json))


@app.command()
def clear(
    function: Annotated[str, typer.Argument(help="The function's name.")],
    status: Annotated[str, typer.Option(help="pending, or scheduled (not due yet).")] = "pending",
    url: Gateway = None,
) -> None:
    """Cancel all jobs of a function that wait."""
    from runtime.cli import operations

    sys.exit(operations.clear(settings.load(url=url), function, status))


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Set those parameters of the server that are wrong.")] = False,
    data: Data = None,
    json: AsJson = False,
) -> None:
    """Look at the live system, and say what is wrong and what to do; exits with 1 where there is an error."""
    from runtime.cli import doctor

    sys.exit(doctor.run(settings_of(data), fix=fix, as_json=json))


@app.command(name="settings")
def settings_(json: AsJson = False) -> None:
    """List every setting, its value here and its meaning."""
    show.settings_table(settings.load(), as_json=json)


def main() -> None:
    try:
        app()
    except LaneworkError as error:
        show.error(error.code, str(error))
        sys.exit(show.UNAVAILABLE if error.code in _AWAY else show.REFUSED)


if __name__ == "__main__":
    main()
