"""`lanework keys`: its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runtime.cli.data import Data, settings_of

app = typer.Typer(help="Access keys: what lets programs in through the gateway.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
Name = Annotated[str, typer.Argument(help="The key's name.")]


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(help="Who it is for, such as web-shop; else one is made up.")
    ] = None,
    scopes: Annotated[
        str, typer.Option(help="Some of enqueue, read, metrics, work, operate, admin.")
    ] = "enqueue,read",
    functions: Annotated[
        str | None, typer.Option(help="Only these, such as email,img_*. [default: all]", show_default=False)
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(help="Requests, such as 100/s; a batch counts its jobs. [default: any]", show_default=False),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid, such as 90d. [default: forever]")
    ] = None,
    own_webhook_secret: Annotated[
        bool,
        typer.Option("--own-webhook-secret", help="Sign callbacks of its jobs with a secret that is its alone."),
    ] = False,
    data: Data = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it; it is shown only once."""
    from runtime.cli import access

    allowed = (_split("scopes", scopes), _split("functions", functions))
    sys.exit(access.new(settings_of(data), name, *allowed, rate, expires, own_webhook_secret, json))


@app.command()
def ls(data: Data = None, json: AsJson = False) -> None:
    """List the keys."""
    from runtime.cli import access

    sys.exit(access.ls(settings_of(data), json))


@app.command()
def revoke(
    name: Name,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete it, so that its name can be used again.")
    ] = False,
    data: Data = None,
) -> None:
    """Revoke a key: gateways refuse it within two seconds."""
    from runtime.cli import access

    sys.exit(access.revoke(settings_of(data), name, forget=forget))


@app.command(name="webhook-secret")
def webhook_secret(
    name: Annotated[
        str | None, typer.Argument(help="An access key with its own secret. [default: the shared secret]")
    ] = None,
    data: Data = None,
) -> None:
    """Print what callbacks are signed with, for those who receive them."""
    from runtime.cli import access

    sys.exit(access.webhook_secret(settings_of(data), name))


def _split(name: str, text: str | None) -> list[str]:
    """Refuses an empty list: it may come from an unset shell variable, and would allow everything."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if text is not None and not parts:
        raise typer.BadParameter("is an empty list", param_hint=f"--{name}")
    return parts
