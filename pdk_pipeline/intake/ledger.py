"""The ledger of imports: which deliveries were taken in, with what outcome, and which were begun and never ended."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.database import next_id, transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pdk_pipeline.database import Connection

MOST_MESSAGES = 20
"""So many warnings are told in full; the rest is counted."""

WINDOW = 500
"""So many entries are looked at by one statement when old ones are deleted."""


@dataclass
class Outcome:
    """What an import did. accepted + duplicates + skipped + quarantined = records, for every log."""

    file: str
    delivery: str
    sender: str = ""
    format: str = ""
    sha256: str = ""
    size: int = 0
    """Bytes of the file, compressed or not."""
    seconds: float = 0.0
    records: int = 0
    accepted: int = 0
    replaced_missing: int = 0
    """Of those accepted: took the place of a result recorded missing."""
    duplicates: int = 0
    """A result was there already."""
    replaced: int = 0
    """Of the duplicates: took its place, as asked."""
    skipped: int = 0
    quarantined: int = 0
    warnings: int = 0
    messages: list[str] = field(default_factory=list)
    """The first warnings."""
    runs: list[str] = field(default_factory=list)
    """Names of the test runs that stand in the log."""
    quarantine_item: str | None = None
    archived_as: str | None = None
    is_dropped: bool = False
    """What it quarantined was dropped since."""
    is_left: bool = False
    """It was to be archived and could not be removed from where it lies."""
    is_repeated: bool = False
    """This delivery had been imported before, and nothing was changed."""

    def warn(self, line: int, text: str) -> None:
        """Count a warning, and keep its text if there are not too many."""
        self.warnings += 1
        self.tell(f"line {line}: {text}" if line else text)

    def tell(self, text: str) -> None:
        """Keep a text to show, if there are not too many."""
        if len(self.messages) < MOST_MESSAGES:
            self.messages.append(text)

    def as_json(self) -> dict[str, Any]:
        """For the ledger, for a task's result and for programs."""
        return vars(self).copy()  # `asdict` would copy every message and run too, for every log


def recorded(db: Connection, delivery: str) -> Outcome | None:
    """The outcome of a delivery that was imported before."""
    row = db.execute("SELECT outcome FROM import_file WHERE delivery = ?", (delivery,)).fetchone()
    if row is None:
        return None
    outcome = Outcome(**json.loads(row[0]))
    outcome.is_repeated = True
    return outcome


def retried(db: Connection, item: str) -> Outcome | None:
    """The outcome of the import that ended a quarantined item's stay there (see `importing.retry`)."""
    row = db.execute(
        """
        SELECT delivery FROM import_file
        -- The delivery of an item is quarantine:ITEM:TIME, and ; comes after : in the order of characters.
        WHERE delivery >= 'quarantine:' || :item || ':' AND delivery < 'quarantine:' || :item || ';'
        AND outcome ->> '$.quarantine_item' IS NOT :item
        """,
        {"item": item},
    ).fetchone()
    return recorded(db, row[0]) if row else None


def forget_quarantined(db: Connection, item: str) -> None:
    """The item is dropped: no log has it in the quarantine any more."""
    db.execute(
        """
        UPDATE import_file SET outcome = json_set(outcome, '$.is_dropped', json('true'))
        WHERE quarantined > 0 AND outcome ->> '$.quarantine_item' = ?
        """,
        (item,),
    )


class Quarantined(NamedTuple):
    """A log that is in the quarantine, whole or in part."""

    file: str
    sender: str
    imported_at: float
    """Seconds since 1970, UTC."""
    item: str
    """Its id in the quarantine."""
    runs: list[str]
    """The runs that its good records belong to; empty when it has none."""


def quarantined(db: Connection) -> list[Quarantined]:
    """The logs that have something in the quarantine that was neither mended nor dropped since, the oldest first."""
    rows = db.execute(
        """
        WITH bad AS (
            SELECT id, name, sender, imported_at, outcome, outcome ->> '$.quarantine_item' AS item
            FROM import_file WHERE quarantined > 0 AND NOT coalesce(outcome ->> '$.is_dropped', 0)
        )
        SELECT name, sender, imported_at, item, outcome -> '$.runs' FROM bad
        WHERE item IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM import_file AS mended
            -- What was mended before is bad again when the log was imported anew.
            WHERE mended.id > bad.id
            -- The delivery of a mended item is quarantine:ITEM:TIME, and ; comes after : (see importing.retry).
            AND mended.delivery >= 'quarantine:' || item || ':' AND mended.delivery < 'quarantine:' || item || ';'
            AND mended.outcome ->> '$.quarantine_item' IS NOT item
        )
        ORDER BY id
        """
    )
    return [Quarantined(file, sender, at, item, json.loads(runs)) for file, sender, at, item, runs in rows]


def imported_at(db: Connection, sha256: str) -> float | None:
    """When a file with this checksum was last imported, in seconds since 1970; None when it never was."""
    row = db.execute("SELECT max(imported_at) FROM import_file WHERE sha256 = ?", (sha256,)).fetchone()
    return float(row[0]) if row[0] is not None else None


def begin_attempt(db: Connection, delivery: str, *, is_excused: bool = False) -> tuple[int, str]:
    """Count that an import of this delivery begins, in a transaction of its own.

    `is_excused`: all attempts so far came to nothing by no fault of its log's, and count for nothing.
    Returns which attempt it is, from 1, and how the one before failed; empty when it was killed, or is the first.
    """
    # Perhaps it does not outlive a power cut, which is no fault of the log.
    with transaction(db, is_synced=False):
        attempts, failure = db.execute(
            """
            INSERT INTO import_attempt (delivery, attempts, last_at) VALUES (:delivery, 1, :now)
            ON CONFLICT (delivery) DO UPDATE SET last_at = excluded.last_at,
                attempts = CASE WHEN :is_excused THEN 1 ELSE attempts + 1 END
            RETURNING attempts, failure
            """,
            {"delivery": delivery, "now": time.time(), "is_excused": is_excused},
        ).fetchone()
        if failure:
            db.execute("UPDATE import_attempt SET failure = '' WHERE delivery = ?", (delivery,))
    return int(attempts), str(failure)


def have_begun(db: Connection, deliveries: Iterable[str]) -> bool:
    """Whether an import of one of them has begun before, whatever came of it."""
    row = db.execute(
        """
        WITH asked AS (SELECT value AS delivery FROM json_each(?))
        SELECT EXISTS (SELECT 1 FROM asked JOIN import_file USING (delivery))
            OR EXISTS (SELECT 1 FROM asked JOIN import_attempt USING (delivery))
        """,
        (json.dumps(list(deliveries)),),
    ).fetchone()
    return bool(row[0])


def attempt_failed(db: Connection, delivery: str, failure: str) -> None:
    """Note why the attempt came to nothing; it stays counted."""
    db.execute("UPDATE import_attempt SET failure = ? WHERE delivery = ?", (failure, delivery))


def forget_attempts(db: Connection, delivery: str) -> None:
    """The import ended well, or for a reason that is not its log's."""
    db.execute("DELETE FROM import_attempt WHERE delivery = ?", (delivery,))


def next_entry(db: Connection) -> int:
    """The id of the row that this transaction will make; its results refer to it before."""
    return next_id(db, "import_file")


def enter(db: Connection, entry: int, outcome: Outcome) -> None:
    """Make the ledger's row of a log, with what its import did; `entry`: its id. The attempts at it are forgotten."""
    db.execute(
        """
        INSERT INTO import_file (id, delivery, name, sender, format, sha256, size, imported_at, seconds, records,
            accepted, replaced_missing, replaced, duplicates, skipped, quarantined, warnings, outcome)
        VALUES (:entry, :delivery, :file, :sender, :format, :sha256, :size, :now, :seconds, :records,
            :accepted, :replaced_missing, :replaced, :duplicates, :skipped, :quarantined, :warnings, :outcome)
        """,
        vars(outcome) | {"entry": entry, "now": time.time(), "outcome": json.dumps(vars(outcome))},
    )
    forget_attempts(db, outcome.delivery)


def forget(
    db: Connection, *, imported_before: float, in_quarantine: Collection[str], after: int
) -> tuple[int, int | None]:
    """Delete what is old among the next entries after that id: no run that was in the log is there any more.

    So no result refers to an entry that goes. A log that has something in the quarantine keeps its entry. Returns how
    many have gone, and the last id that was looked at; None: there are no more.
    """
    last = db.execute(
        "SELECT id FROM import_file WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?", (after, WINDOW - 1)
    ).fetchone()
    gone = db.execute(
        """
        DELETE FROM import_file
        WHERE id > :after AND id <= :last AND imported_at < :imported_before
        AND NOT EXISTS (
            SELECT 1 FROM json_each(import_file.outcome, '$.runs') AS held JOIN run ON run.name = held.value
        )
        AND coalesce(outcome ->> '$.quarantine_item', '') NOT IN (SELECT value FROM json_each(:in_quarantine))
        """,
        {
            "after": after,
            "last": last[0] if last else 1 << 62,
            "imported_before": imported_before,
            "in_quarantine": json.dumps(sorted(in_quarantine)),
        },
    ).rowcount
    return gone, last[0] if last else None


def forget_old_attempts(db: Connection, *, before: float) -> int:
    """Delete the attempts at deliveries that were last tried so long ago. Returns how many they were."""
    return db.execute("DELETE FROM import_attempt WHERE last_at < ?", (before,)).rowcount
