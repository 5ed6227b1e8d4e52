"""Attempts of one kind share slots: those of the event loop and its threads, and those in processes."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.handlers.spec import Spec
from runtime.settings import Settings
from runtime.store.attempt_store import AttemptStore
from runtime.store.connect import Redis, connect, disconnect
from runtime.worker.reader import Reader, Serving
from runtime.worker.slots import Slots


class SlotGroup:
    """Slots, and a reader for each shard that fills them."""

    def __init__(self, name: str, slots: Slots, stores: Mapping[int, AttemptStore], settings: Settings) -> None:
        self.name = name
        self.slots = slots
        self._serving = Serving()
        self._blocking: Redis = connect(settings, timeout=None)
        self.readers = [
            Reader(name, store, self._blocking, slots, self._serving, alone=len(stores) == 1)
            for store in stores.values()
        ]

    async def serve(self, functions: Mapping[str, Spec]) -> None:
        """Replaces the functions, by job type; running attempts keep their own."""
        if self._serving.change(functions):
            for reader in self.readers:
                await reader.wake()

    async def close(self) -> None:
        await disconnect(self._blocking)
