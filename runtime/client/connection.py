"""What every part of the client stands on: the store, the contracts, one event loop; and whether they can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime import settings
from runtime.client.contracts import Contracts
from runtime.client.deadline import within
from runtime.errors import LoopChanged, NotReady, SettingsInvalid
from runtime.settings import Settings
from runtime.store.access import AccessKeys
from runtime.store.registry import Deployed, WorkerInfo
from runtime.store.store import Store

if TYPE_CHECKING:
    from runtime.history.history import History


def open_history(settings: Settings) -> History | None:
    """What answers where Redis has forgotten; None where the settings name no database. Raises SettingsInvalid."""
    if not (url := settings.history_url.get_secret_value()):
        return None
    try:
        from runtime.history.history import History  # the extra `history` brings what it needs
    except ModuleNotFoundError as error:
        raise SettingsInvalid(f"history_url needs {error.name}: pip install 'lanework[history]'") from None
    return History(url)


def every_type(_type: str) -> bool:
    """That jobs of every type are meant."""
    return True


class Connection:
    """A connection to Lanework, used on one event loop."""

    def __init__(self, loaded: Settings | None = None) -> None:
        self.settings = loaded or settings.load()
        self._loop: asyncio.AbstractEventLoop | None = None  # whose connections these are
        self._store = Store(self.settings, gathers=True)
        self._contracts = Contracts(self._store.registry)
        self._history = open_history(self.settings)

    @property
    def access(self) -> AccessKeys:
        """The access keys, which let programs in through gateways; who has Redis needs none."""
        return self._store.access

    async def check(self) -> None:
        """Raises StoreUnavailable, StoreUnsupported or StoreMismatch where jobs could not be served."""
        self._check_event_loop()
        await self._store.check()

    async def ping(self) -> None:
        """Raises StoreUnavailable unless Redis answers."""
        self._check_event_loop()
        await within(self._store.jobs.ping())

    async def check_ready(self) -> None:
        """Raises StoreUnavailable where no job could be stored, NotReady while no function is known, or not each of
        those that the settings expect."""
        self._check_event_loop()
        await within(self._store.jobs.try_write())
        known, expected = await self._contracts.all(), self.settings.expect
        if missing := [name for name in expected if name not in known]:
            raise NotReady(f"no worker has come up yet with {', '.join(missing)}")
        if not known:
            raise NotReady("no function is known yet, because no worker has started")

    async def function(self, name: str) -> Deployed:
        """A function as workers published it. Raises FunctionUnknown, StoreUnavailable."""
        self._check_event_loop()
        return (await self._contracts.get(name)).deployed

    async def functions(self) -> dict[str, Deployed]:
        """Every function that workers published, by its name or alias."""
        self._check_event_loop()
        return {name: contract.deployed for name, contract in (await self._contracts.all()).items()}

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that are alive: each beats every 3 s, and is gone after 15 s of silence."""
        self._check_event_loop()
        return await within(self._store.registry.workers())

    async def close(self) -> None:
        await self._store.close()
        if self._history is not None:
            await self._history.close()

    def _check_event_loop(self) -> None:
        """Raises LoopChanged on another event loop than before."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise LoopChanged
            self._loop = loop
