"""The outbox as people see it, and what they can do about a message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pdk_pipeline.errors import UnknownMessage
from pdk_pipeline.outbox import leases
from pdk_pipeline.outbox.words import DAY_SECONDS, Entry, State, marks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pdk_pipeline.channels.message import Message
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

_ENTRY = """
SELECT id, run, recipient, channel, kind, subject, lines, state, detail, attempts, lease IS NOT NULL, is_held_up,
    message_id, created_at, due_at, closed_at
FROM notification
"""


def entries(
    db: Connection, *, run: str | None = None, states: Collection[State] = (), ids: Sequence[int] | None = None
) -> list[Entry]:
    """The messages of a run, in some states, with some ids; the oldest first."""
    rows = db.execute(
        f"""
        {_ENTRY}
        WHERE (:run IS NULL OR run = :run)
        AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
        AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
        ORDER BY id
        """,  # noqa: S608  (column names)
        {"run": run, "states": json.dumps(list(states)), "ids": None if ids is None else json.dumps(list(ids))},
    )
    return [_entry(row) for row in rows]


def entry(db: Connection, id_: int) -> Entry:
    """The message of that id. Raises UnknownMessage."""
    found = entries(db, ids=[id_])
    if not found:
        raise _unknown(id_)
    return found[0]


def newest(db: Connection) -> int:
    """The id of the last message that was put here; 0 when there was none yet."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM notification").fetchone()[0])


def content(db: Connection, id_: int) -> Message:
    """What a message says. Raises UnknownMessage."""
    held = leases.held(db, id_)
    if held is None:
        raise _unknown(id_)
    return held.message


def _unknown(id_: int) -> UnknownMessage:
    return UnknownMessage(str(id_), advice="`pdk outbox list` shows what there is.")


def _entry(row: Sequence[Any]) -> Entry:
    entry = Entry(*row)
    return entry._replace(
        state=State(entry.state), is_in_hand=bool(entry.is_in_hand), is_held_up=bool(entry.is_held_up)
    )


def retry(db: Connection, settings: Settings, ids: Sequence[int], *, now: float) -> int:
    """Have messages delivered now that were refused, given up or dropped, or wait for their time.

    One that was sent stays sent. Returns how many there are to deliver.
    """
    return db.execute(
        f"""
        UPDATE notification SET state = 'pending', due_at = ?, give_up_at = ?, closed_at = NULL, is_held_up = 0
        WHERE id IN ({marks(ids)}) AND state <> 'sent' AND lease IS NULL
        """,  # noqa: S608  (question marks)
        (now, now + settings.give_up_days * DAY_SECONDS, *ids),
    ).rowcount


def drop(db: Connection, ids: Sequence[int], *, now: float) -> int:
    """Have messages delivered never; their recipients count as told. Returns how many were not sent or dropped yet."""
    return db.execute(
        f"""
        UPDATE notification SET state = 'dropped', closed_at = ?, lease = NULL, lease_until = NULL, is_held_up = 0
        WHERE id IN ({marks(ids)}) AND state NOT IN ('sent', 'dropped')
        """,  # noqa: S608  (question marks)
        (now, *ids),
    ).rowcount
