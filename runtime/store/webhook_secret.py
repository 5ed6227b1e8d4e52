"""What callbacks are signed with: as the settings say, else a secret that is made once and kept."""

from __future__ import annotations

import base64
import secrets
from typing import cast

from runtime.settings import Settings
from runtime.store.connect import Redis, translated
from runtime.store.keys import Keys


def made() -> str:
    """A new one."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


class WebhookSecret:
    """The secret of all workers."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._key = Keys(settings.prefix).webhook_secret
        self._known = settings.webhook_secret.get_secret_value()

    async def get(self) -> str:
        """`whsec_` and base64. Raises StoreUnavailable."""
        if not self._known:
            new = made()
            with translated():
                kept = await self._client.set(self._key, new, nx=True, get=True)
            self._known = new if kept is None else cast("bytes", kept).decode()
        return self._known
