"""The option `--data`: the server of a running `lanework up`, in place of REDIS_URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime import settings
from runtime.settings import Settings

Data = Annotated[
    Path | None, typer.Option(help="The data folder of a running `lanework up`. [default: use REDIS_URL]")
]


def settings_of(data: Path | None) -> Settings:
    if data is None:
        return settings.load()
    from runtime.store.embedded import socket_path

    return settings.load(redis_url=f"unix://{socket_path(data)}")
