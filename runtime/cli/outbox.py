"""`lanework outbox`: its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runtime import settings

app = typer.Typer(
    help="An outbox: jobs enqueued within a program's own database transaction.", no_args_is_help=True
)
Url = Annotated[
    str | None,
    typer.Option(
        "--outbox-url",
        help="Such as postgresql://user@host/name or sqlite:///shop.db. [default: LANEWORK_OUTBOX_URL]",
        show_default=False,
    ),
]


@app.command()
def migrate(url: Url = None) -> None:
    """Make the table lanework_outbox where it is missing."""
    from runtime.cli import relay

    sys.exit(relay.migrate(settings.load(outbox_url=url)))


@app.command()
def run(url: Url = None) -> None:
    """Move rows of the outbox to Redis, until SIGTERM. On PostgreSQL several may run."""
    from runtime.cli import relay

    sys.exit(relay.run(settings.load(outbox_url=url)))


@app.command()
def ls(
    json: Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")] = False,
    url: Url = None,
) -> None:
    """List the first hundred rows that wait, and why those were refused that were."""
    from runtime.cli import relay

    sys.exit(relay.ls(settings.load(outbox_url=url), as_json=json))
