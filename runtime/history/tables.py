"""The tables of history, as the newest migration leaves them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_JSON = JSON().with_variant(JSONB(), "postgresql")
_GIN: Any = {"postgresql_using": "gin", "postgresql_ops": {"fields": "jsonb_path_ops", "tags": "jsonb_path_ops"}}

# A settled job. Times: Unix ms. `error`: its type and message, for searches. `fields`: what the payload has, for
# searches: text, numbers and booleans by their path, such as "customer.email". `job`: the whole (`rows.py`).
jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("type", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Column("parent", Uuid(as_uuid=False)),
    Column("error", Text),
    Column("fields", _JSON, nullable=False),
    Column("tags", _JSON),
    Column("job", LargeBinary, nullable=False),
    Index("jobs_by_creation", "created_at", "id"),
    Index("jobs_by_type", "type", "created_at", "id"),
    Index("jobs_by_end", "finished_at"),
    Index("jobs_by_parent", "parent"),
    # SQLite has no index for what is in JSON: it looks through what the other conditions leave
    Index("jobs_by_field", "fields", **_GIN).ddl_if(dialect="postgresql"),
    Index("jobs_by_tag", "tags", **_GIN).ddl_if(dialect="postgresql"),
)

# An attempt of such a job. `waited`: ms from when the job could start, for its first attempt.
attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Uuid(as_uuid=False), primary_key=True),
    Column("attempt", BigInteger, primary_key=True),
    Column("type", Text, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("waited", BigInteger),
    Column("outcome", Text),
    Column("worker", Text),
    Column("version", Text),
    Column("error_type", Text),
    Index("attempts_by_end", "type", "ended_at"),
)
