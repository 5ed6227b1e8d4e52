"""What a provider's webhook brings, and how its signature is checked before a job of it is stored."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from runtime.errors import FunctionInvalid

_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


# for the handler alone: many a provider shows who it is by a header or a parameter
_Hidden = Annotated[dict[str, str], Field(json_schema_extra={"writeOnly": True})]


@dataclass(slots=True)
class Hook:
    """A request of somebody who knows nothing of Lanework, as it came: the payload of a function that takes it.

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
