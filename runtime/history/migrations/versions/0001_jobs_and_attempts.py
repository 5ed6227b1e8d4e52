"""Jobs and their attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("parent", sa.Uuid(as_uuid=False)),
        sa.Column("error", sa.Text),
        sa.Column("fields", _JSON, nullable=False),
        sa.Column("tags", _JSON),
        sa.Column("job", sa.LargeBinary, nullable=False),
    )
    op.create_index("jobs_by_creation", "jobs", ["created_at", "id"])
    op.create_index("jobs_by_type", "jobs", ["type", "created_at", "id"])
    op.create_index("jobs_by_end", "jobs", ["finished_at"])
    op.create_index("jobs_by_parent", "jobs", ["parent"])
    if op.get_bind().dialect.name == "postgresql":
        for name, column in (("jobs_by_field", "fields"), ("jobs_by_tag", "tags")):
            ops = {column: "jsonb_path_ops"}
            op.create_index(name, "jobs", [column], postgresql_using="gin", postgresql_ops=ops)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("attempt", sa.BigInteger, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("waited", sa.BigInteger),
        sa.Column("outcome", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("version", sa.Text),
        sa.Column("error_type", sa.Text),
    )
    op.create_index("attempts_by_end", "attempts", ["type", "ended_at"])


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_table("jobs")
