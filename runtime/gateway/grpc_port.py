"""The gateway's port for gRPC; what it needs comes with the extra `grpc`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from runtime import log
from runtime.errors import SettingsInvalid
from runtime.gateway.access.guarded import GuardedLanework
from runtime.gateway.access.rpc_guard import RpcGuard
from runtime.settings import Settings

if TYPE_CHECKING:
    from runtime.rpc.server import Server

_GRACE = 5.0  # seconds for calls to end


def is_installed() -> bool:
    return find_spec("grpc") is not None and find_spec("google.protobuf") is not None


class GrpcPort:
    """Serves gRPC beside HTTP, on the same connection to Lanework."""

    def __init__(self, lanework: GuardedLanework, settings: Settings) -> None:
        self._lanework = lanework
        self._settings = settings

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Where the settings name a port. Raises SettingsInvalid."""
        if self._settings.grpc_port is None:
            yield
            return
        if not is_installed():
            raise SettingsInvalid("gRPC needs further packages: pip install 'lanework[grpc]'")
        server = self._server()
        port = await server.start()
        scheme = "https" if self._settings.grpc_tls_cert else "http"
        log.get("gateway").info("grpc.started", url=f"{scheme}://{self._settings.host}:{port}")
        try:
            yield
        finally:
            await server.stop(_GRACE)

    def _server(self) -> Server:
        from runtime.rpc.go_job_queue import go_job_queue_service
        from runtime.rpc.health import Health
        from runtime.rpc.jobs import Jobs, job_service
        from runtime.rpc.server import Server

        jobs = Jobs(self._lanework)
        services = [job_service(jobs), go_job_queue_service(jobs)]
        health = Health(self._lanework.check_ready, [service.descriptor.full_name for service in services])
        return Server([*services, health.service], RpcGuard(self._lanework), self._settings)
