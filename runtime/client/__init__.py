"""The client of Lanework in Python: enqueue jobs, look at them, wait for them."""

from runtime.client.client import Lanework
from runtime.client.connect import connect
from runtime.client.sync import LaneworkSync

__all__ = ["Lanework", "LaneworkSync", "connect"]
