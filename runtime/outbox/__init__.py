"""Jobs that are enqueued within the caller's own database transaction; see `add`."""

from runtime.outbox.write import add

__all__ = ["add"]
