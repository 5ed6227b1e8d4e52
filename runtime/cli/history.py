"""`lanework history`: its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runtime import settings

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
def run(url: Url = None) -> None:
    """Write what settles to history, until SIGTERM. Several may run."""
    from runtime.cli import archive

    sys.exit(archive.run(settings.load(history_url=url)))
