"""The words of the outbox: states, results, and what is handed in and out."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.channels.message import shown
from pdk_pipeline.database import unpack

if TYPE_CHECKING:
    from collections.abc import Collection

    from pdk_pipeline.channels.message import Message

DAY_SECONDS = 86_400

Told = list[list[str | None]]
"""What a reader knows, as `report.Document.told` says it."""


class State(StrEnum):
    """How it stands with a message."""

    PENDING = "pending"
    SENT = "sent"
    REFUSED = "refused"
    GIVEN_UP = "given up"
    DROPPED = "dropped"
    """By a person."""


UNTOLD = (State.REFUSED, State.GIVEN_UP)
"""What ended so has told nobody anything."""


class Result(StrEnum):
    """How an attempt to deliver ended."""

    SENT = "sent"
    REFUSED = "refused"
    """For good: trying again is no use."""
    FAILED = "failed"
    """This message, now."""
    DOWN = "down"
    """The channel: no message can be delivered by it now."""


class Outcome(NamedTuple):
    """What came of an attempt."""

    result: Result
    detail: str
    """What the other side said, or why it failed."""


class Notice(NamedTuple):
    """What a recipient is to be sent about a run."""

    run: str
    """Its name."""
    recipient: str
    channel: str
    subject: str
    text: str
    html: str
    lines: int
    """How many tests and places it lists."""
    told: Told
    """What the recipient knows then of the run, from earlier messages too."""


class Known(NamedTuple):
    """What a recipient has been told of a run."""

    report: str
    """The Message-ID of the first message."""
    digest: str
    """Of the last."""
    packed: bytes
    """What `told` unpacks; the same for those who were told the same."""

    @property
    def told(self) -> Told:
        """What it was, from all the messages."""
        told: Told = json.loads(unpack(self.packed))
        return told


class Lease(NamedTuple):
    """A message in hand."""

    id: int
    token: str
    """Makes void what was handed over before."""


class Held(NamedTuple):
    """A message and how it stands with it, for whoever is to deliver it."""

    message: Message
    channel: str
    state: State
    lease: str | None
    lease_until: float


class Entry(NamedTuple):
    """A message, as it is listed."""

    id: int
    run: str
    recipient: str
    channel: str
    kind: str
    """report, or addendum: only what is new since the report."""
    subject: str
    lines: int
    state: State
    detail: str
    attempts: int
    is_in_hand: bool
    """A delivery is under way."""
    is_held_up: bool
    """Its channel is down, with whatever else waits for that."""
    message_id: str
    created_at: float
    """Seconds since 1970, UTC; so are those below."""
    due_at: float
    closed_at: float | None
    """When it was no longer pending."""

    @property
    def is_tried(self) -> bool:
        """Whether something has come of it: it is closed, or an attempt failed and it waits for the next one."""
        return self.state is not State.PENDING or (bool(self.detail) and not self.is_in_hand)

    def as_json(self) -> dict[str, Any]:
        """For programs; a service's tokens are left out."""
        return self._asdict() | {"recipient": shown(self.recipient)}


def marks(values: Collection[object]) -> str:
    """Question marks for the values of an SQL list."""
    return ", ".join("?" * len(values))
