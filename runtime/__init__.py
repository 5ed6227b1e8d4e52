"""Lanework: functions that appear when a file is dropped in, and run as jobs on Redis Streams."""

from runtime.errors import Permanent, RetryLater, Stopped
from runtime.handlers.context import Context
from runtime.handlers.hooks import GitHubWebhook, Hook, StandardWebhook, StripeWebhook
from runtime.handlers.policy import function
from runtime.jobs.event import Event
from runtime.jobs.failure import OutOfMemory, Timeout
from runtime.jobs.retry import Retry

__all__ = [
    "Context",
    "Event",
    "GitHubWebhook",
    "Hook",
    "OutOfMemory",
    "Permanent",
    "Retry",
    "RetryLater",
    "StandardWebhook",
    "Stopped",
    "StripeWebhook",
    "Timeout",
    "function",
]
