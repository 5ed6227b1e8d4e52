"""The table that lies in the caller's database; it is made where it is missing."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.history.database import translated
from runtime.outbox.write import TABLE

metadata = MetaData()

# `request`: msgpack, as `add` packs it. `error`, `tries`, `try_at` (Unix ms): of one that was refused.
rows = Table(
    TABLE,
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("error", Text),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("try_at", BigInteger, nullable=False, server_default=text("0"), index=True),
)

_NOTIFY = f"""
CREATE OR REPLACE FUNCTION {TABLE}_notify() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY {TABLE}; RETURN NULL; END $$
"""
_TRIGGER = f"""
CREATE OR REPLACE TRIGGER {TABLE}_added AFTER INSERT ON {TABLE}
FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_notify()
"""


async def make_table(engine: AsyncEngine) -> None:
    """Raises HistoryUnavailable."""
    with translated():
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            if engine.dialect.name == "postgresql":
                for statement in (_NOTIFY, _TRIGGER):
                    await connection.execute(text(statement))
