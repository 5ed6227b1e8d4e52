"""The built-in function that tells a URL of a settled job, signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from runtime import outbound
from runtime.errors import Permanent, RetryLater
from runtime.handlers.context import Context
from runtime.handlers.policy import function
from runtime.handlers.spec import Function
from runtime.jobs.built_in import CALLBACK
from runtime.jobs.retry import Retry
from runtime.settings import Settings
from runtime.store.access import AccessKeys
from runtime.store.webhook_secret import WebhookSecret
from runtime.values import codec

_LATER = (429, 503)  # a receiver that says when it wants to hear again
_FIRST, _LONGEST = 10, 21_600  # seconds; with 15 attempts that is about half a day
_DIGITS = 9


def callback_function(secret: WebhookSecret, access: AccessKeys, settings: Settings) -> Function:
    @function(timeout=30, retry=Retry(max_attempts=15, base=_FIRST, cap=_LONGEST))
    async def callback(ctx: Context, url: str, job: dict[str, Any], signer: str | None = None) -> dict[str, int]:
        """Tell a URL that a job has settled.

        It is sent again, for about half a day, until the answer is a success (2xx), or 410, which ends it.
        `signer`: the access key whose own secret signs it.
        """
        event = {"type": f"job.{job.get('status')}", "timestamp": job.get("finished_at"), "data": job}
        body = codec.to_json(event)
        signs_with = await (secret.get() if signer is None else access.webhook_secret(signer))
        if signs_with is None:
            raise Permanent(f"the access key {signer}, whose secret signs this, is forgotten")
        headers = _signed(signs_with, ctx.job.id, body)
        async with (
            outbound.client(allow_private=settings.allow_private) as http,
            http.stream("POST", url, content=body, headers=headers) as reply,  # whose body is not read
        ):
            status, after = reply.status_code, reply.headers.get("retry-after", "")
        if status == 410:
            raise Permanent("the receiver answered 410: it wants no more")
        if status in _LATER and after.isascii() and after.isdecimal():
            raise RetryLater(_delay(ctx.job.tries, int(after[:_DIGITS])), f"the receiver answered {status}")
        if not 200 <= status < 300:
            raise RuntimeError(f"the receiver answered {status}")
        return {"status": status}

    return Function(CALLBACK, callback)


def _delay(tries: int, after: int) -> int:
    """Seconds until it is sent again: as the receiver says, but no sooner than the policy's backoff on average, or
    a receiver that says "at once" would use up all attempts."""
    return min(_LONGEST, max(after, _FIRST << tries >> 2))


def _signed(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    """The headers of a message."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "user-agent": "Lanework",
        "webhook-id": message_id,
        "webhook-timestamp": str(math.floor(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
    }
