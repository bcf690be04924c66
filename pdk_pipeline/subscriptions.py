"""Who wants which report of which project, whether or not they are a contact of its tests."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import addresses
from pdk_pipeline.channels import shown
from pdk_pipeline.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pdk_pipeline.database import Connection

EVERY_PROJECT = ""
"""The project of a subscription to all that have none of their own."""


class Kind(StrEnum):
    """What a subscriber is sent.

    Source: the user preferences of Pandokia; `changes` is ours.
    """

    NONE = "none"
    """Nothing, not even as a contact."""
    SUMMARY = "summary"
    """The counts, without a list of tests."""
    FULL = "full"
    """All of the problems; nothing when there are none."""
    FULL_ALWAYS = "full-always"
    """All of the problems, and a message when there are none too."""
    CHANGES = "changes"
    """Only what is not as it was in the run before; nothing when all is."""


class Subscription(NamedTuple):
    """What one address is sent of one project."""

    address: str
    project: str
    """`EVERY_PROJECT`: of all that have none of their own."""
    kind: Kind
    most_lines: int | None
    """At most so many tests are listed; None: all."""


def subscribe(db: Connection, wish: Subscription) -> bool:
    """Take a subscription, in place of what the address had for the project. Returns whether the project is known."""
    db.execute(
        """
        INSERT INTO subscription (address, project, kind, most_lines) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET kind = excluded.kind, most_lines = excluded.most_lines
        """,
        wish,
    )
    return wish.project == EVERY_PROJECT or bool(
        db.execute("SELECT 1 FROM test WHERE project = ? LIMIT 1", (wish.project,)).fetchone()
    )


def unsubscribe(db: Connection, address: str, mail_domain: str, project: str | None = None) -> int:
    """End the subscription of an address to a project, or all that it has. Returns how many there were.

    A service's URL may be given as `shown` shows it.
    """
    try:
        meant = addresses.clean(address, mail_domain, may_be_url=True)
    except BadAddress:
        meant = address
    held = [text for (text,) in db.execute("SELECT DISTINCT address FROM subscription")]
    # One that was taken before `mail_domain` was set stands there without it.
    spellings = [text for text in held if meant in {addresses.clean(text, mail_domain, may_be_url=True), shown(text)}]
    return db.execute(
        """
        DELETE FROM subscription
        WHERE address IN (SELECT value FROM json_each(?)) AND (? IS NULL OR project = ?)
        """,
        (json.dumps(spellings), project, project),
    ).rowcount


def every(db: Connection, mail_domain: str) -> list[Subscription]:
    """All subscriptions, by address and project. `mail_domain` completes the addresses that have no @."""
    rows = db.execute("SELECT address, project, kind, most_lines FROM subscription ORDER BY address, project")
    return [
        Subscription(addresses.clean(address, mail_domain, may_be_url=True), project, Kind(kind), most)
        for address, project, kind, most in rows
    ]


def of(db: Connection, projects: Iterable[str], mail_domain: str) -> dict[str, dict[str, Subscription]]:
    """What every subscriber wants of each of the projects: by address, by project.

    The subscription to a project itself counts before the one to every project. A project that an address has
    neither for is not in its dict: as a contact it is told of its own tests only. Addresses are spelled as those of
    `contacts.of` are.
    """
    by_address: dict[str, dict[str, Subscription]] = {}
    for one in every(db, mail_domain):
        by_address.setdefault(one.address, {})[one.project] = one
    wanted = list(projects)
    resolved = {
        address: {
            project: subscribed[held]._replace(project=project)
            for project in wanted
            if (held := project if project in subscribed else EVERY_PROJECT) in subscribed
        }
        for address, subscribed in by_address.items()
    }
    return {address: wishes for address, wishes in resolved.items() if wishes}
