"""Which functions a group of slots serves now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from runtime.handlers.spec import Spec
from runtime.store.attempts import Offer


class Serving:
    """Functions by job type; they change as files do."""

    def __init__(self) -> None:
        self.functions: Mapping[str, Spec] = {}
        self.offer = Offer({})
        self._changed = asyncio.Event()

    def change(self, functions: Mapping[str, Spec]) -> bool:
        """Whether that is any change."""
        if functions == self.functions:
            return False
        self.functions = functions
        self.offer = Offer({name: function.version for name, function in functions.items()})
        self._changed.set()
        return True

    async def some(self) -> Mapping[str, Spec]:
        """What is served; waits until there is something."""
        while not self.functions:
            self._changed.clear()
            await self._changed.wait()
        return self.functions
