"""`lanework keys`: its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runtime import settings

app = typer.Typer(help="Access keys: what lets programs in through the gateway.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
Name = Annotated[str, typer.Argument(help="The key's name.")]


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(help="Who it is for, such as web-shop; else one is made up.")
    ] = None,
    scopes: Annotated[str, typer.Option(help="Some of enqueue, read, operate, admin.")] = "enqueue,read",
    functions: Annotated[
        str, typer.Option(help="Only these, such as email,img_*. [default: all]", show_default=False)
    ] = "",
    rate: Annotated[
        str,
        typer.Option(help="Requests, such as 100/s; a batch counts its jobs. [default: any]", show_default=False),
    ] = "",
    expires: Annotated[str | None, typer.Option(help="From now on, such as 90d. [default: never]")] = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it; it is shown this once."""
    from runtime.cli import access

    sys.exit(access.new(settings.load(), name, _split(scopes), _split(functions), rate, expires, json))


@app.command()
def ls(json: AsJson = False) -> None:
    """List the keys."""
    from runtime.cli import access

    sys.exit(access.ls(settings.load(), json))


@app.command()
def revoke(
    name: Name,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete it, so that its name can be used again.")
    ] = False,
) -> None:
    """Let a key in no more: gateways refuse it within two seconds."""
    from runtime.cli import access

    sys.exit(access.revoke(settings.load(), name, forget=forget))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
