"""Mails as files in the home's outbox/, for as long as no mail server is set up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING

from pdk_pipeline.channels import mail
from pdk_pipeline.channels.message import is_url
from pdk_pipeline.errors import ChannelDown

if TYPE_CHECKING:
    from pdk_pipeline.channels.message import Message
    from pdk_pipeline.config import Settings

NAME = "eml"

_UNSAFE = re.compile(r"[^A-Za-z0-9@_+.-]+")


def serves(_settings: Settings, recipient: str) -> bool:
    """Every mail address."""
    return not is_url(recipient)


def send(settings: Settings, message: Message, *, seconds: float) -> str:  # noqa: ARG001  (it takes none)
    """Write the mail as a file, whole or not at all; once more, and it takes its own place. Returns the path."""
    content = mail.compose(settings, message).as_bytes()
    path = settings.outbox / _name(message)
    unfinished = path.with_name(f".{path.name}")
    try:
        settings.outbox.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise ChannelDown(f"{path}: {error.strerror}") from None
    return str(path)


def _name(message: Message) -> str:
    """To whom, about what, and what makes it the only one; nothing that leaves the directory, nothing hidden."""
    parts = (_UNSAFE.sub("_", part)[:80].strip("._-") for part in (message.recipient, message.subject))
    return "-".join((*parts, hashlib.sha256(message.message_id.encode()).hexdigest()[:12])) + ".eml"
