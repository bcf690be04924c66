"""What is delivered: one message to one recipient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A message, the same to the last byte at every attempt to deliver it."""

    message_id: str
    """As a mail's header says it, without the angle brackets; whoever gets it twice can tell by this."""
    recipient: str
    """A mail address, or the URL of a service."""
    subject: str
    text: str
    html: str
    """May be empty."""
    created_at: float
    """Seconds since 1970, UTC."""
    answers: str = ""
    """The `message_id` of an earlier message that this one adds to."""


def is_url(recipient: str) -> bool:
    """Whether a recipient is a service's URL and no mail address."""
    return "://" in recipient


def shown(recipient: str) -> str:
    """A recipient as it may be shown and logged: of a URL only the scheme and a mark, since the rest holds tokens.

    What is shown so already stays as it is.
    """
    if not is_url(recipient) or "…" in recipient:
        return recipient
    return f"{recipient.partition('://')[0]}://…{hashlib.sha256(recipient.encode()).hexdigest()[:6]}"
