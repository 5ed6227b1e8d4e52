"""A database for as long as one command needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import SettingsInvalid
from runtime.history.database import open_engine

Answer = TypeVar("Answer")


async def with_engine(url: SecretStr, setting: str, ask: Callable[[AsyncEngine], Awaitable[Answer]]) -> Answer:
    """What `ask` answers. `setting`: the one that names the database. Raises SettingsInvalid where it does not."""
    if not url.get_secret_value():
        raise SettingsInvalid(f"{setting} names no database: give postgresql://user@host/name or sqlite:///path")
    engine = open_engine(url.get_secret_value())
    try:
        return await ask(engine)
    finally:
        await engine.dispose()
