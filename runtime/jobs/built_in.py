"""The functions built into Lanework: only other jobs can start their jobs."""

from __future__ import annotations

CALLBACK = "job_callback"  # tells a URL of a settled job
DELIVERY = "event_delivery"  # publishes an attempt's event to a function of another shard
DELIVERY_ATTEMPTS = 100  # at an hour each in the end: a subscriber's queue may be full for long
NAMES = frozenset((CALLBACK, DELIVERY))
