"""Looking at everything, in order of what it means for jobs."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.doctor import fleet
from runtime.doctor.finding import Finding
from runtime.doctor.server import of_server, of_settings
from runtime.settings import Settings
from runtime.store.store import Store


class Doctor:
    """Looks at the system that these settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)

    async def findings(self) -> list[Finding]:
        """Errors first. What depends on shards is not looked at where they differ, or one is away.

        Raises StoreUnavailable."""
        store, settings = self._store, self._settings
        checkups = await store.checkup()
        found = list(of_settings(checkups[0]))
        for checkup in checkups:
            found += of_server(checkup)
        if not any(checkup.unsupported or checkup.differs or checkup.away for checkup in checkups):
            functions = {deployed.name: deployed for deployed in (await store.registry.functions()).values()}
            workers = await store.registry.workers()
            found += fleet.of_functions(functions, workers, await store.stats.depths())
            found += fleet.of_paused(await store.operations.paused())
            found += fleet.of_attempts(await store.overdue())
            found += fleet.of_history(
                await store.archive.lag(), is_set=bool(settings.history_url.get_secret_value())
            )
            found += fleet.of_keys(await store.strays())
        return sorted(found, key=lambda finding: finding.severity != "error")

    async def fix(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Mends what is safe to mend; what came of it by code: "" where it is done, else why it is not, or not for
        good. Raises StoreUnavailable."""
        return {f.code: await self._store.configure(*f.fix) or "" for f in findings if f.fix is not None}

    async def close(self) -> None:
        await self._store.close()
