"""The ways to deliver a message, one file each, and the registry that finds the one for an address.

To add one: write a module with what `Channel` lists (NAME, `serves`, `send`) and name it in CHANNELS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pdk_pipeline.channels import apprise, eml, smtp
from pdk_pipeline.channels.message import Message, is_url, shown
from pdk_pipeline.errors import ChannelDown, MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdk_pipeline.config import Settings

__all__ = ["CHANNELS", "Channel", "Message", "for_recipient", "is_url", "names", "send", "shown"]


class Channel(Protocol):
    """One way to deliver: a module."""

    NAME: str

    def serves(self, settings: Settings, recipient: str) -> bool:
        """Whether this recipient can be reached so, as things are set up."""

    def send(self, settings: Settings, message: Message, *, seconds: float) -> str:
        """Deliver a message, and return as soon as it is accepted. Gives up after `seconds`.

        Returns what the other side said, or where it went. Raises MessageRefused when trying again is no use,
        ChannelDown when no message can be delivered, DeliveryFault when this one cannot be now.
        """


CHANNELS: tuple[Channel, ...] = (apprise, smtp, eml)
"""Asked in this order."""


def names() -> list[str]:
    """The names of all channels."""
    return [channel.NAME for channel in CHANNELS]


def for_recipient(settings: Settings, recipient: str, *, among: Iterable[str] | None = None) -> Channel | None:
    """The first channel that serves a recipient; `among`: of these names only. None: no such channel does."""
    usable = [channel for channel in CHANNELS if among is None or channel.NAME in among]
    return next((channel for channel in usable if channel.serves(settings, recipient)), None)


def send(settings: Settings, name: str, message: Message, *, seconds: float) -> str:
    """Deliver a message by the channel of that name (see `Channel.send`)."""
    channel = next((channel for channel in CHANNELS if name == channel.NAME), None)
    if channel is None:  # the outbox is of a pdk that has it
        raise MessageRefused(f"there is no channel {name}", advice=f"There are: {', '.join(names())}.")
    if not channel.serves(settings, message.recipient):
        raise ChannelDown(f"{name} is no longer set up for {shown(message.recipient)}")
    return channel.send(settings, message, seconds=seconds)
