"""Send an e-mail over SMTP.

`SMTP_URL` names the server: `smtp://user:password@host:587` (STARTTLS where offered) or
`smtps://…:465`. Without it the message is written to the log and goes nowhere. `MAIL_FROM` is the sender.
"""

import os
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Annotated
from urllib.parse import unquote, urlsplit

import aiosmtplib
from pydantic import Field

from runtime import Context, Permanent, Retry, function

Mailbox = Annotated[str, Field(pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+$", max_length=254, examples=["ada@example.com"])]
Line = Annotated[str, Field(pattern=r"^[^\r\n]*$", max_length=998)]


@function(timeout=60, retry=Retry(max_attempts=5, base=2, cap=300), aliases=("send_email",))
async def handle(ctx: Context, to: Mailbox | list[Mailbox], subject: Line, body: str = "") -> dict[str, str]:
    message = EmailMessage()
    message["From"] = os.environ.get("MAIL_FROM", "lanework@localhost")
    message["To"] = [Address(addr_spec=to) for to in ([to] if isinstance(to, str) else to)]
    message["Subject"] = subject
    message["Message-ID"] = (
        f"<{ctx.job.id}@lanework>"  # the same in each attempt, so that receivers see one message
    )
    message.set_content(body)
    url = os.environ.get("SMTP_URL")
    if url:
        await _send(message, url)
    else:
        ctx.log.warning("email.console", why="SMTP_URL is not set: nothing was sent", message=message.as_string())
    return {"message_id": message["Message-ID"], "transport": "smtp" if url else "console"}


async def _send(message: EmailMessage, url: str) -> None:
    server = urlsplit(url)
    if server.scheme not in ("smtp", "smtps") or not server.hostname:
        raise Permanent("SMTP_URL is smtp://[user:password@]host[:port] or smtps://…")
    try:
        await aiosmtplib.send(
            message,
            hostname=server.hostname,
            port=server.port or (465 if server.scheme == "smtps" else 25),
            use_tls=server.scheme == "smtps",
            username=unquote(server.username) if server.username else None,
            password=unquote(server.password) if server.password else None,
            timeout=30,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        if all(500 <= refused.code < 600 for refused in error.recipients):
            raise Permanent(f"the server refuses the recipient: {error.recipients[0].message}") from error
        raise
