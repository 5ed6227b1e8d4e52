"""What a handler may ask for while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from runtime.errors import Permanent


@dataclass(frozen=True, slots=True)
class JobInfo:
    """The job behind an attempt. `created_at`: Unix milliseconds."""

    id: str
    type: str
    lane: str
    attempt: int
    max_attempts: int
    created_at: int


class Context:
    """Handed to a parameter annotated `Context`; usable from the event loop and from threads."""

    __slots__ = ("_files", "_log", "_report", "_stopped", "job")

    def __init__(self, job: JobInfo, report: Callable[[dict[str, Any]], None], files: Path) -> None:
        self.job = job
        self._report = report
        self._files = files
        self._log: structlog.stdlib.BoundLogger | None = None
        self._stopped = False

    @property
    def log(self) -> Any:
        """A structlog logger bound to the job: id, function, attempt."""
        if self._log is None:
            self._log = structlog.get_logger("function").bind(
                job=self.job.id, function=self.job.type, attempt=self.job.attempt
            )
        return self._log

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop: it timed out, lost its lease, or its worker is leaving.

        An `async def` handler is cancelled besides; a `def` handler that works long asks here.
        """
        return self._stopped

    def stop(self) -> None:
        """Make `cancelled` true."""
        self._stopped = True

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Show how far the job is; the newest report replaces the one before it."""
        self._report({"done": done, "total": total, "note": note})

    def file(self, name: str | Path) -> Path:
        """The path of a file that functions may read and write, below `LANEWORK_FILES_DIR`.

        Raises Permanent for a name that leads out of that folder.
        """
        root = self._files.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise Permanent(f"{str(name)!r} lies outside the folder of files ({self._files})")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
