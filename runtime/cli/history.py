"""`lanework history`: its commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime import settings
from runtime.values import durations, ids

if TYPE_CHECKING:
    from runtime.history.search import Search

app = typer.Typer(help="History: a SQL database that keeps what has settled.", no_args_is_help=True)
Url = Annotated[
    str | None,
    typer.Option(
        "--history-url",
        help="Such as sqlite:///history.db or postgresql://user@host/name. [default: LANEWORK_HISTORY_URL]",
        show_default=False,
    ),
]


@app.command()
def migrate(url: Url = None) -> None:
    """Make the tables, or bring them to this version's."""
    from runtime.cli import archive

    sys.exit(archive.migrate(settings.load(history_url=url)))


@app.command()
def run(
    migrate: Annotated[bool, typer.Option("--migrate", help="Bring the tables to this version's first.")] = False,
    url: Url = None,
) -> None:
    """Write what settles to history, until SIGTERM. Several may run."""
    from runtime.cli import archive

    sys.exit(archive.run(settings.load(history_url=url), migrate=migrate))


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")] = False,
) -> None:
    """Show how far history is behind; exits with 1 where that is a minute, or there is none."""
    from runtime.cli import archive

    sys.exit(archive.status(settings.load(), as_json=json))


@app.command()
def off() -> None:
    """Have settled jobs wait for history no longer; what is in the database stays."""
    from runtime.cli import archive

    sys.exit(archive.off(settings.load()))


Function = Annotated[str | None, typer.Option("--type", help="Only jobs of this function.")]
Payload = Annotated[
    list[str] | None, typer.Option(help="Only jobs with this in their payload, such as user=ann@example.com.")
]


@app.command()
def export(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file; gzip if it ends in .gz. [default: standard output]"),
    ] = None,
    type: Function = None,
    after: Annotated[str | None, typer.Option(help="Made then or later, such as 2026-01-31T08:00:00Z.")] = None,
    before: Annotated[str | None, typer.Option(help="Made then or earlier.")] = None,
    payload: Payload = None,
    url: Url = None,
) -> None:
    """Write history as lines of JSON, a job each, the newest first."""
    from runtime.cli import archive

    sys.exit(archive.export(settings.load(history_url=url), _search(type, after, before, payload), output))


@app.command()
def forget(
    jobs: Annotated[list[str] | None, typer.Argument(help="Ids of jobs.")] = None,
    type: Function = None,
    payload: Payload = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    url: Url = None,
) -> None:
    """Erase settled jobs from history and from Redis: by id, or all with something in their payload."""
    from runtime.cli import archive

    if bool(jobs) == bool(payload):
        raise typer.BadParameter("name jobs, or what is in their payload: --payload user=ann@example.com")
    if bad := [job for job in jobs or () if not ids.is_id(job)]:
        raise typer.BadParameter(f"{bad[0][:50]} is no job's id")
    search = _search(type, None, None, payload) if payload else None
    sys.exit(archive.forget(settings.load(history_url=url), jobs or [], search, dry_run=dry_run))


def _search(type: str | None, after: str | None, before: str | None, payload: list[str] | None) -> Search:
    from runtime.history.search import Search

    pairs = [pair.partition("=") for pair in payload or ()]
    if not all(path and equals for path, equals, _ in pairs):
        raise typer.BadParameter("is a path and a value, such as user=ann@example.com", param_hint="--payload")
    return Search(
        type=type,
        after=_moment("--after", after),
        before=_moment("--before", before),
        payload={path: value for path, _, value in pairs},
    )


def _moment(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else durations.unix_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
