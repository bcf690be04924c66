"""Services that are addressed by a URL (slack://…, json://…), through the library apprise."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pdk_pipeline.channels.message import is_url, shown
from pdk_pipeline.errors import ChannelDown, DeliveryFault, MessageRefused

if TYPE_CHECKING:
    from pdk_pipeline.channels.message import Message
    from pdk_pipeline.config import Settings

NAME = "apprise"

SHORTEST_TOKEN = 6
"""A shorter part of a URL is a word like `json`, and no secret worth the name."""

_BETWEEN_PARTS = re.compile(r"[/:@?&=]+")


def serves(_settings: Settings, recipient: str) -> bool:
    """Every URL."""
    return is_url(recipient)


def send(_settings: Settings, message: Message, *, seconds: float) -> str:  # noqa: ARG001  (it waits 4 s at most)
    """Hand a message's text to a service. A refusal for good cannot be told from one that passes."""
    try:
        import apprise  # noqa: PLC0415  (slow to load, and an extra)
    except ImportError:
        advice = "`pip install 'pdk-pipeline[apprise]'` brings it."
        raise ChannelDown("the library apprise is not installed", advice) from None
    _keep_to_themselves("apprise", "urllib3")
    service = apprise.Apprise.instantiate(message.recipient)
    if not isinstance(service, apprise.NotifyBase):
        raise MessageRefused(f"apprise knows no service {shown(message.recipient)}")
    if "overflow=" not in message.recipient:
        # In several posts a later one could fail, and all would come again.
        service.overflow_mode = apprise.OverflowMode.TRUNCATE
    services = apprise.Apprise()  # it also translates text for a service that shows HTML
    services.add(service)
    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        accepted = services.notify(title=message.subject, body=message.text, body_format=apprise.NotifyFormat.TEXT)
        told = " ".join(log.getvalue().split())
    if not accepted:
        told = _without_tokens(told, message.recipient)
        raise DeliveryFault(f"{shown(message.recipient)}: {told[:300] or 'it was not accepted'}")
    return f"accepted by {shown(message.recipient)}"


def _keep_to_themselves(*names: str) -> None:
    """Have what libraries log go no further: they tell whole URLs. What we are to know of it is captured."""
    for name in names:
        logging.getLogger(name).propagate = False


def _without_tokens(told: str, url: str) -> str:
    """What a service's part of the library says, without the parts of its URL: in some even the host is a token."""
    parts = {part for part in _BETWEEN_PARTS.split(url) if len(part) >= SHORTEST_TOKEN}
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        told = told.replace(part, "…")
    return told
