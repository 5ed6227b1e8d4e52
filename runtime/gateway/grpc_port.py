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
    from runtime.rpc.port import Port


def require_installed() -> None:
    """Raises SettingsInvalid."""
    if find_spec("grpc") is None:
        raise SettingsInvalid("gRPC needs further packages: pip install 'lanework[grpc]'")


def check(settings: Settings) -> None:
    """Whether gRPC can be served, but for the port. Raises SettingsInvalid."""
    require_installed()
    from runtime.rpc.server import credentials

    credentials(settings)


class GrpcPort:
    """Serves gRPC beside HTTP, on the same connection to Lanework, where the settings name a port."""

    def __init__(self, lanework: GuardedLanework, settings: Settings) -> None:
        self._lanework = lanework
        self._settings = settings
        self._port: Port | None = None

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Raises SettingsInvalid."""
        if self._settings.grpc_port is None:
            yield
            return
        require_installed()
        from runtime.rpc.port import Port

        port = self._port = Port(self._lanework, RpcGuard(self._lanework), self._settings)
        number = await port.start()
        scheme = "http" if self._settings.grpc_tls_cert is None else "https"
        log.get("gateway").info("grpc.started", url=f"{scheme}://{self._settings.host}:{number}")
        try:
            yield
        finally:
            await port.stop()

    def leave(self) -> None:
        """Says that it leaves."""
        if self._port is not None:
            self._port.leave()
