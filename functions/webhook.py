"""POST a JSON document to a URL, and fail on an answer other than success (2xx) so that it is tried again.

It reaches the Internet alone, and no private, loopback or link-local address unless LANEWORK_ALLOW_PRIVATE=1. It
follows no redirect.
"""

import json
from typing import Annotated, Any

import httpx
from pydantic import Field

from runtime import Permanent, Retry, function, outbound


@function(timeout=40, retry=Retry(max_attempts=5, base=2, cap=300))
async def handle(
    url: Annotated[str, Field(pattern=r"^https?://\S+$")],
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout: Annotated[float, Field(gt=0, le=30, description="seconds")] = 10.0,
) -> dict[str, int]:
    try:
        async with outbound.client(timeout=timeout) as client:
            content_type = {"Content-Type": "application/json"}
            response = await client.post(url, content=json.dumps(body), headers=content_type | (headers or {}))
    except httpx.InvalidURL as error:
        raise Permanent(f"not a URL: {error}") from error
    response.raise_for_status()
    return {"status": response.status_code}
