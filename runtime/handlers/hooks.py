"""What a provider's webhook brings, and how its signature is checked before a job of it is stored."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from runtime.errors import FunctionInvalid

_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


# only the handler sees these: many providers authenticate by a header or a query parameter
_Hidden = Annotated[dict[str, str], Field(json_schema_extra={"writeOnly": True})]


@dataclass(slots=True)
class Hook:
    """An HTTP request from a provider that knows nothing of Lanework, unchanged: the payload of its function.

    `headers`: by lower-case name, without cookies and `Authorization`. `query`: the last of each name. Jobs show
    neither.
    """

    body: bytes
    headers: _Hidden = field(default_factory=dict)
    query: _Hidden = field(default_factory=dict)
    method: str = "POST"

    def json(self) -> Any:
        """The body read as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Signature:
    """How a provider signs. `secret`: the variable of the gateway's environment that has it, as env:NAME; several
    secrets in it, with spaces between them, are all valid."""

    scheme: ClassVar[str] = ""
    secret: str

    def __post_init__(self) -> None:
        """Raises FunctionInvalid."""
        if not isinstance(self.secret, str) or not _SECRET.fullmatch(self.secret):
            hint = 'such as secret="env:SHOP_SECRET": what is in the module is published for all to see'
            raise FunctionInvalid(f"{type(self).__name__}: name the variable that has the secret, {hint}")


class StandardWebhook(Signature):
    """The headers webhook-id, webhook-timestamp and webhook-signature (standardwebhooks.com)."""

    scheme = "standard"


class GitHubWebhook(Signature):
    """The headers X-Hub-Signature-256 and X-GitHub-Delivery."""

    scheme = "github"


class StripeWebhook(Signature):
    """The header Stripe-Signature."""

    scheme = "stripe"


UNSIGNED = ("unsigned", "")  # a scheme and its secret, of a function that takes a Hook and names no signature
