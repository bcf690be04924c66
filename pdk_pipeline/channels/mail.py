"""A message as a mail, whatever carries it: headers that nothing can be smuggled into, a text and an HTML part."""

from __future__ import annotations

import hashlib
import re
import socket
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from pdk_pipeline import addresses
from pdk_pipeline.errors import BadAddress, MessageRefused

if TYPE_CHECKING:
    from pdk_pipeline.channels.message import Message
    from pdk_pipeline.config import Settings

LONGEST_SUBJECT = 200
"""Characters; no mail program shows more."""

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)


def sender(settings: Settings) -> Address:
    """Who the mails are from."""
    if settings.mail_from:
        (address,) = SMTP.header_factory("From", settings.mail_from).addresses
        return Address(address.display_name, address.username, address.domain)
    return Address("pdk", "pdk", settings.mail_domain or _this_machine())


def _this_machine() -> str:
    name = socket.gethostname()  # not getfqdn(): it may ask a name server that does not answer
    return name if _HOST.fullmatch(name) else "localhost"


def domain(settings: Settings) -> str:
    """The domain that message ids and the list's id end in."""
    return sender(settings).domain


def recipient(message: Message) -> Address:
    """Whom the mail is to. Raises MessageRefused when that is no address."""
    try:
        address = addresses.clean(message.recipient, "")
    except BadAddress as error:
        raise MessageRefused(str(error)) from None
    username, _, host = address.partition("@")
    return Address(username=username, domain=host)


def compose(settings: Settings, message: Message) -> EmailMessage:
    """The mail, the same to the last byte whenever it is made. Raises MessageRefused."""
    mail = EmailMessage(policy=SMTP)
    from_ = sender(settings)
    mail["From"] = from_
    mail["To"] = recipient(message)
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.created_at, tz=UTC))
    mail["Message-ID"] = f"<{message.message_id}>"
    if message.answers:
        mail["In-Reply-To"] = f"<{message.answers}>"
        mail["References"] = f"<{message.answers}>"
    mail["List-Id"] = f"pdk test reports <pdk.{from_.domain}>"
    # No holiday notice in answer. The second is what Microsoft Exchange looks at.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
        mail.set_boundary(f"={hashlib.sha256(message.message_id.encode()).hexdigest()[:32]}")
    return mail


def _one_line(text: str) -> str:
    """Text that fits a header: one line, not too long."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= LONGEST_SUBJECT else f"{line[: LONGEST_SUBJECT - 1]}…"
