"""Whether a provider has signed a request, by the scheme that its function names."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence

from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from runtime.errors import AccessDenied

TOLERANCE = 300  # seconds by which a provider's clock may be off, and a request be late
Headers = Mapping[str, str]
_ID = re.compile("[!-\\-/-~]{1,1000}")
_LONGEST = 255


def delivery(scheme: str, secrets: Sequence[str], headers: Headers, body: bytes) -> str:
    """What the delivery is known by: signed too, and the same each time that the provider sends it again.

    Raises AccessDenied where none of the secrets has signed it.
    """
    check = _SCHEMES[scheme]
    for secret in secrets:
        try:
            if delivered := check(secret, headers, body):
                return delivered if len(delivered) <= _LONGEST else hashlib.sha256(delivered.encode()).hexdigest()
        except (
            WebhookVerificationError,
            ValueError,
            KeyError,
            TypeError,
        ):  # of what anybody may send
            continue
    raise AccessDenied("the signature does not fit: it is missing, too old, or made with another secret")


def _standard(secret: str, headers: Headers, body: bytes) -> str | None:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    own = headers["webhook-id"]
    if not _ID.fullmatch(own):  # with a full stop in it, what is signed could be read as another id and body
        return None
    Webhook(secret).verify(body, dict(headers), json_parse=False)
    return own


def _github(secret: str, headers: Headers, body: bytes) -> str | None:
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    digest = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    fits = hmac.compare_digest(f"sha256={digest}".encode(), headers["x-hub-signature-256"].encode())
    return digest if fits else None  # the header with its id is not signed: whoever has one could send it again


def _stripe(secret: str, headers: Headers, body: bytes) -> str | None:
    """https://docs.stripe.com/webhooks#verify-manually"""
    fields = [part.strip().partition("=")[::2] for part in headers["stripe-signature"].split(",")]
    at = int("".join(value for name, value in fields if name == "t"))
    if abs(time.time() - at) > TOLERANCE:
        return None
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hex().encode()
    fits = [hmac.compare_digest(digest, value.encode()) for name, value in fields if name == "v1"]
    return str(json.loads(body)["id"]) if any(fits) else None


def is_secret(scheme: str, secret: str) -> bool:
    """Whether something can be signed with it."""
    try:
        return scheme != "standard" or bool(Webhook(secret))
    except (ValueError, EmptyWebhookSecretError):
        return False


_SCHEMES: dict[str, Callable[[str, Headers, bytes], str | None]] = {
    "standard": _standard,
    "github": _github,
    "stripe": _stripe,
}
