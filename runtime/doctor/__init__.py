"""Looking at a live system, and saying what is wrong with it."""

from runtime.doctor.doctor import Doctor
from runtime.doctor.finding import Finding

__all__ = ["Doctor", "Finding"]
