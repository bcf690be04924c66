"""Out of the outbox: messages taken in hand, and what came of it."""

from __future__ import annotations

import json
import random
import secrets
from typing import TYPE_CHECKING

from pdk_pipeline.channels.message import Message
from pdk_pipeline.database import unpack
from pdk_pipeline.outbox.words import Held, Lease, Outcome, Result, State

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

AT_ONCE = 10
"""So many messages are under way together; the next ones follow as these are recorded."""

LONGEST_PAUSE_SECONDS = 3600

LEAST_ATTEMPTS = 5
"""Nothing is given up before so many, whatever the clock says: it may be wrong, or we were switched off for days."""

SPREAD = 1.2
"""A pause is so many times as long at most, and shorter by as much."""


def lease(db: Connection, settings: Settings, *, now: float, most: int = AT_ONCE) -> list[Lease]:
    """Take messages in hand that are due, so many that at most `most` are under way.

    A recipient gets an addendum after the report. Of a channel that is down, one message tries whether it still is.
    """
    _set_right(db, settings, now)
    _give_up_the_lost(db, now)
    under_way = [
        channel
        for (channel,) in db.execute(
            "SELECT channel FROM notification WHERE state = ? AND lease_until > ?", (State.PENDING, now)
        )
    ]
    down = {
        channel
        for (channel,) in db.execute(
            "SELECT DISTINCT channel FROM notification WHERE state = ? AND is_held_up = 1", (State.PENDING,)
        )
    }
    leases = []
    for id_, channel in due(db, now=now):
        if len(under_way) >= most:
            break
        if channel not in down or channel not in under_way:
            under_way.append(channel)
            leases.append(Lease(id_, secrets.token_hex(8)))
    db.executemany(
        "UPDATE notification SET lease = ?, lease_until = ?, attempts = attempts + 1 WHERE id = ?",
        [(token, now + settings.lease_seconds, id_) for id_, token in leases],
    )
    return leases


def due(db: Connection, *, now: float) -> list[tuple[int, str]]:
    """Id and channel of the messages that could be taken in hand, the one that is due longest first."""
    return db.execute(
        """
        SELECT id, channel FROM notification
        WHERE state = 'pending' AND due_at <= ? AND (lease IS NULL OR lease_until <= ?)
        AND NOT EXISTS (
            SELECT 1 FROM notification AS earlier
            WHERE earlier.run = notification.run
            AND earlier.recipient = notification.recipient
            AND earlier.state = 'pending'
            AND earlier.id < notification.id
        )
        ORDER BY due_at, id
        """,
        (now, now),
    ).fetchall()


def _set_right(db: Connection, settings: Settings, now: float) -> None:
    """What lies further ahead than any moment ever is was set by a clock that was wrong: it counts from now."""
    moments = {"latest_end": now + settings.lease_seconds, "latest_due": now + SPREAD * LONGEST_PAUSE_SECONDS}
    db.execute(
        """
        UPDATE notification SET lease_until = min(lease_until, :latest_end), due_at = min(due_at, :latest_due)
        WHERE state = 'pending' AND (lease_until > :latest_end OR due_at > :latest_due)
        """,
        moments,
    )


def _give_up_the_lost(db: Connection, now: float) -> None:
    """A message that takes its worker down with it each time must not do so for ever."""
    db.execute(
        """
        UPDATE notification SET state = 'given up', closed_at = :now, lease = NULL, lease_until = NULL,
            detail = 'its delivery was begun ' || attempts || ' times and the last one never ended'
        WHERE state = 'pending' AND lease_until <= :now AND give_up_at <= :now AND attempts >= :least
        """,
        {"now": now, "least": LEAST_ATTEMPTS},
    )


def release(db: Connection) -> None:
    """Make every lease void: for a process that knows that it is the one to deliver now."""
    db.execute("UPDATE notification SET lease = NULL, lease_until = NULL WHERE state = 'pending' AND lease IS NOT NULL")


def held(db: Connection, id_: int) -> Held | None:
    """The message of that id; None: there is none."""
    row = db.execute(
        """
        SELECT message_id, recipient, subject, content, created_at, answers, channel, state, lease, lease_until
        FROM notification WHERE id = ?
        """,
        (id_,),
    ).fetchone()
    if row is None:
        return None
    message_id, recipient, subject, content, created_at, answers, channel, state, token, until = row
    parts = json.loads(unpack(content))
    message = Message(message_id, recipient, subject, parts["text"], parts["html"], created_at, answers)
    return Held(message, channel, State(state), token, until or 0.0)


def record(db: Connection, settings: Settings, lease: Lease, outcome: Outcome, *, now: float) -> None:
    """Record what came of an attempt; the same once more changes nothing.

    What was sent was sent, whoever has the lease by now. A failure counts only for the lease that it was made under.
    """
    row = db.execute(
        "SELECT channel, state, lease, attempts, give_up_at FROM notification WHERE id = ?", (lease.id,)
    ).fetchone()
    if row is None:
        return
    channel, state, token, attempts, give_up_at = row
    again_at = now + _pause(settings, attempts)
    if outcome.result is Result.SENT and state != State.SENT:
        _close(db, lease.id, State.SENT, outcome.detail, now)
    elif state != State.PENDING:
        return
    elif outcome.result is Result.REFUSED:
        _close(db, lease.id, State.REFUSED, outcome.detail, now)
    elif token != lease.token:
        return
    elif give_up_at <= now and attempts >= LEAST_ATTEMPTS:
        _close(db, lease.id, State.GIVEN_UP, outcome.detail, now)
    else:
        db.execute(
            "UPDATE notification SET lease = NULL, lease_until = NULL, due_at = ?, detail = ? WHERE id = ?",
            (again_at, outcome.detail, lease.id),
        )
    if outcome.result is Result.DOWN:
        _hold_up(db, channel, outcome.detail, now, again_at, is_long=attempts >= LEAST_ATTEMPTS)
    else:
        _go_on(db, channel, now)


def _close(db: Connection, id_: int, state: State, detail: str, now: float) -> None:
    db.execute(
        """
        UPDATE notification SET state = ?, detail = ?, closed_at = ?, lease = NULL, lease_until = NULL, is_held_up = 0
        WHERE id = ?
        """,
        (state, detail, now, id_),
    )


def _pause(settings: Settings, attempts: int) -> float:
    """Seconds until the next attempt: doubling, and never the same for all."""
    doubled = settings.redelivery_seconds * 2.0 ** min(attempts - 1, 30)
    return min(doubled, LONGEST_PAUSE_SECONDS) * random.uniform(2 - SPREAD, SPREAD)  # noqa: S311  (no secret)


def _hold_up(db: Connection, channel: str, detail: str, now: float, again_at: float, *, is_long: bool) -> None:
    """A channel is down: its messages wait together, instead of finding out one by one. `is_long`: often tried."""
    if is_long:
        db.execute(
            """
            UPDATE notification SET state = 'given up', closed_at = ?, detail = ?, is_held_up = 0
            WHERE state = 'pending' AND channel = ? AND lease IS NULL AND give_up_at <= ?
            """,
            (now, detail, channel, now),
        )
    db.execute(
        """
        UPDATE notification SET is_held_up = 1, detail = ?, due_at = max(due_at, ?)
        WHERE state = 'pending' AND channel = ? AND lease IS NULL
        """,
        (detail, again_at, channel),
    )


def _go_on(db: Connection, channel: str, now: float) -> None:
    """A channel works: what waited for it is due now."""
    db.execute(
        "UPDATE notification SET is_held_up = 0, due_at = ? WHERE state = 'pending' AND channel = ? AND is_held_up = 1",
        (now, channel),
    )
