"""What Alembic runs: the migrations, on the connection that `migrate.py` gives it."""

from __future__ import annotations

from alembic import context

from runtime.history.tables import metadata

# SQLite changes a table by copying it
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="lanework_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
