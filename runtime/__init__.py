"""Lanework: functions that appear when a file is dropped in, and run as jobs on Redis Streams."""

from runtime.context import Context
from runtime.errors import Permanent, RetryLater, Stopped
from runtime.jobs.failure import OutOfMemory, Timeout
from runtime.jobs.retry import Retry
from runtime.policy import function

__all__ = ["Context", "OutOfMemory", "Permanent", "Retry", "RetryLater", "Stopped", "Timeout", "function"]
