"""Into the outbox: what a recipient knows already, and one more message."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import zstandard

from pdk_pipeline.channels import mail
from pdk_pipeline.outbox.words import DAY_SECONDS, UNTOLD, Known, Notice, State, marks

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection


def known(db: Connection, run: str) -> dict[str, Known]:
    """What every recipient has been told of a run, or will have been once what is pending is delivered."""
    rows = db.execute(
        f"""
        SELECT recipient, message_id, answers, digest, told FROM notification
        WHERE run = ? AND state NOT IN ({marks(UNTOLD)})
        ORDER BY id
        """,  # noqa: S608  (question marks)
        (run, *UNTOLD),
    )
    # The last one of each recipient holds all that the earlier ones told.
    last = {recipient: rest for recipient, *rest in rows}
    return {
        recipient: Known(answers or message_id, digest, told)
        for recipient, (message_id, answers, digest, told) in last.items()
    }


def put(db: Connection, settings: Settings, notice: Notice, before: Known | None, *, now: float) -> int | None:
    """Put a message into the outbox. `before`: what `known` says of the recipient; with it, it is an addendum.

    Returns its id; None when the very same message was put before (and was refused, or else it would be known).
    """
    # What was told before is part of it: a test may fail, pass and fail again, and each is news.
    digest = _digest(before.digest if before else "", notice.subject, notice.text)
    identity = _digest(notice.run, notice.recipient, notice.channel, digest)
    row = db.execute(
        """
        INSERT INTO notification (run, recipient, channel, kind, digest, message_id, answers, subject, lines, content,
            told, state, created_at, due_at, give_up_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING
        RETURNING id
        """,
        (
            notice.run,
            notice.recipient,
            notice.channel,
            "addendum" if before else "report",
            digest,
            f"{identity}@{mail.domain(settings)}",
            before.report if before else "",
            notice.subject,
            notice.lines,
            _packed({"text": notice.text, "html": notice.html}),
            _packed(notice.told),
            State.PENDING,
            now,
            now,
            now + settings.give_up_days * DAY_SECONDS,
        ),
    ).fetchone()
    return row[0] if row else None


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _packed(data: object) -> bytes:
    return zstandard.compress(json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def forget(db: Connection, settings: Settings, *, now: float) -> int:
    """Delete the messages that were closed longer ago than they are kept. Returns how many they were."""
    return db.execute(
        "DELETE FROM notification WHERE state <> ? AND closed_at < ?",
        (State.PENDING, now - settings.keep_messages_days * DAY_SECONDS),
    ).rowcount
