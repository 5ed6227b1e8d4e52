"""All services on one port."""

from __future__ import annotations

from runtime.client import Lanework
from runtime.rpc.go_job_queue import go_job_queue_service
from runtime.rpc.guard import Guard
from runtime.rpc.health import Health
from runtime.rpc.jobs import Jobs, job_service
from runtime.rpc.server import Server
from runtime.rpc.work.service import Work
from runtime.settings import Settings

_GRACE = 5.0  # seconds for calls to end


class Port:
    """The server with its services."""

    def __init__(self, lanework: Lanework, guard: Guard, settings: Settings) -> None:
        jobs = Jobs(lanework)
        self._work = Work(guard, settings)
        services = [job_service(jobs), go_job_queue_service(jobs), self._work.service]
        names = [service.descriptor.full_name for service in services]
        self._health = Health(lanework.check_ready, names)
        self._server = Server([*services, self._health.service], guard, settings)

    async def start(self) -> int:
        """Listens; returns the port. Raises SettingsInvalid."""
        return await self._server.start()

    def leave(self) -> None:
        """Says that it leaves: from now on remote workers get no more."""
        self._work.leave()
        self._health.leave()

    async def stop(self) -> None:
        """Once remote workers have ended what they run, or its grace is over."""
        self.leave()
        await self._work.ended()
        await self._server.stop(_GRACE)
