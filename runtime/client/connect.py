"""The client for a URL: of Redis, or of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime import settings
from runtime.client.client import Lanework
from runtime.errors import SettingsInvalid
from runtime.store.address import SCHEMES

if TYPE_CHECKING:
    from runtime.client.http import LaneworkHttp


def connect(url: str, key: str | None = None) -> Lanework | LaneworkHttp:
    """`redis://…` gives a client of Redis, `http://…` one of a gateway, which needs the extra `http`.

    `key`: the access key that a gateway is shown. The rest is as the settings say. Raises SettingsInvalid.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in SCHEMES:
        return Lanework(settings.load(redis_url=url))
    if scheme not in ("http", "https"):
        raise SettingsInvalid("this is neither Redis' URL (redis://…) nor a gateway's (http://…)")
    try:
        from runtime.client.http import LaneworkHttp
    except ModuleNotFoundError as error:
        raise SettingsInvalid(f"a client over HTTP needs lanework[http]: {error}") from None
    return LaneworkHttp(settings.load(url=url, key=key))
