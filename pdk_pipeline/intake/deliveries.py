"""One log that is handed over: counted, read, stored, its bad records quarantined, and all of it only once."""

from __future__ import annotations

import functools
import getpass
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pdk_pipeline import database
from pdk_pipeline.errors import PassingFault, ReaderKilled, UnreadableLog
from pdk_pipeline.intake import ledger, quarantine, reading, spool
from pdk_pipeline.intake.ingest import OnDuplicate, ingest
from pdk_pipeline.intake.ledger import Outcome
from pdk_pipeline.intake.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.intake.reading import Part
    from pdk_pipeline.intake.reading_ahead import Read

Progress = Callable[[int, int], None]
"""Is told the bytes done and the bytes in all, now and then."""

LARGEST_SWELL_BYTES = 256 << 20
MOST_SWELL = 100
"""A log may swell to so many bytes or so many times its size, in the database or in the quarantine: a bomb may not."""

MOST_BYTES_A_LETTER = 16
"""In the database: up to four, of a name in the index too, and as much for what surrounds it."""

WHOLE_FILE = "none"
"""The `format` of a file that was quarantined whole."""


@dataclass(frozen=True)
class Options:
    """How a log is to be imported."""

    defaults: dict[str, str] = field(default_factory=dict)
    """Fields for records that lack them."""
    on_duplicate: OnDuplicate = OnDuplicate.KEEP
    format: str | None = None
    """None: recognised by content."""
    sender: str = ""

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Options:
        """From a task's argument or a quarantine note."""
        return cls(**options | {"on_duplicate": OnDuplicate(options.get("on_duplicate", "keep"))})

    def as_json(self) -> dict[str, Any]:
        """For a task's argument or a quarantine note."""
        return vars(self).copy()


@dataclass(frozen=True)
class Delivery:
    """A log handed over to be imported."""

    id: str
    """The same one again changes nothing."""
    path: Path
    name: str
    """What people know it by."""
    options: Options
    origin_sha256: str = ""
    """Of the log that a quarantined record came from, when this is such a record."""


@dataclass(frozen=True)
class Batch:
    """What logs that are imported one after the other have in common."""

    read: Read = reading.read
    """What reads them."""
    names: Names = field(default_factory=Names)


def no_progress(*_done: float) -> None:
    """For whoever wants to know none."""


@functools.cache
def sender() -> str:
    """Who hands over a log from here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "?"
    return f"{user}@{socket.gethostname()}"


def take_in(
    settings: Settings,
    db: Connection,
    delivery: Delivery,
    batch: Batch,
    progress: Progress = no_progress,
) -> Outcome:
    """Take a log in, or tell what came of it when it was. It stays where it is.

    No power cut makes it half, but one may undo it, until `database.sync`: nobody may be told before that.
    Raises UnreadableLog, UnknownFormat, ReaderKilled.
    """
    before = ledger.recorded(db, delivery.id)
    if before:
        return before
    attempt, failure = ledger.begin_attempt(db, delivery.id, is_excused=delivery.id in _excused)
    _excused.discard(delivery.id)
    if attempt >= settings.most_attempts:
        last = f"the last one ended with {failure}" if failure else "the process was killed"
        return give_up(settings, db, delivery, f"{attempt - 1} imports of it came to nothing, {last}")
    staging = quarantine.Staging(settings, delivery.id)
    try:
        with database.transaction(db, is_synced=False):
            before = ledger.recorded(db, delivery.id)  # another process was quicker, while this one waited
            if before is None:
                return _store(settings, db, delivery, staging, batch, progress)
            ledger.forget_attempts(db, delivery.id)
            return before
    except BaseException as error:
        batch.names.forget()
        staging.discard()
        _note_failure(db, delivery.id, error)
        raise


_excused: set[str] = set()
"""Deliveries whose last attempt failed by no fault of theirs, while the disk was too full to note even that."""


def _note_failure(db: Connection, delivery: str, error: BaseException) -> None:
    """Count the attempt against the log, unless the fault lies elsewhere: a full disk, a stop, a file not there."""
    elsewhere = (UnreadableLog, PassingFault, OSError, sqlite3.OperationalError, KeyboardInterrupt, SystemExit)
    is_excused = isinstance(error, elsewhere) and not isinstance(error, ReaderKilled)
    try:
        with database.transaction(db):
            if is_excused:
                ledger.forget_attempts(db, delivery)
            else:
                ledger.attempt_failed(db, delivery, f"{type(error).__name__}: {error}"[:500])
    except sqlite3.Error:
        if is_excused:
            _excused.add(delivery)


def _store(
    settings: Settings,
    db: Connection,
    delivery: Delivery,
    staging: quarantine.Staging,
    batch: Batch,
    progress: Progress,
) -> Outcome:
    """Read and store inside the caller's transaction; the quarantined records are safe before it commits."""
    began = time.perf_counter()
    outcome = _outcome(delivery)
    options = delivery.options
    entry = ledger.next_entry(db)
    ingest(
        db,
        _bounded(db, staging, batch.read(delivery.path, how(settings, options)), progress),
        outcome,
        names=batch.names,
        entry=entry,
        now=time.time(),
        on_duplicate=options.on_duplicate,
        reject=staging.add,
    )
    log_sha256 = delivery.origin_sha256 or outcome.sha256
    outcome.quarantine_item = staging.settle(outcome.file, log_sha256, options.as_json())
    if staging.first_reason:
        outcome.tell(f"quarantined, {staging.first_reason}")
    if not outcome.records:
        outcome.tell("no record stands in it")
    outcome.seconds = round(time.perf_counter() - began, 4)
    ledger.enter(db, entry, outcome)
    return outcome


def _bounded(db: Connection, staging: quarantine.Staging, parts: Iterable[Part], progress: Progress) -> Iterator[Part]:
    """The parts of a log, each asked for when the one before it is stored. Raises UnreadableLog when it is too much."""
    size_before: int | None = None
    for part in parts:
        # Most logs are one part that cannot swell so much: then the database need not be asked.
        if size_before is None and (part.ending is None or part.letters * MOST_BYTES_A_LETTER > LARGEST_SWELL_BYTES):
            size_before = database.used_bytes(db)
        yield part
        progress(part.bytes_read, part.size)
        _bound_swelling(staging.written, part, "that are no results")
        if size_before is not None:
            _bound_swelling(database.used_bytes(db) - size_before, part, "in the database")


def how(settings: Settings, options: Options) -> reading.How:
    """How a log is to be read."""
    return reading.How(options.format, options.defaults, settings.zone, settings.record_limit_mb << 20)


def _bound_swelling(written: int, part: Part, where: str) -> None:
    """Raises UnreadableLog when what was read so far has become too much."""
    if written > max(LARGEST_SWELL_BYTES, MOST_SWELL * part.bytes_read):
        raise UnreadableLog(f"it swells to more than {written >> 20} MB {where}")


def give_up(settings: Settings, db: Connection, delivery: Delivery, reason: str) -> Outcome:
    """Quarantine a file whole, unread."""
    with database.transaction(db):
        before = ledger.recorded(db, delivery.id)  # as in take_in
        if before is not None:
            ledger.forget_attempts(db, delivery.id)
            return before
        outcome = _outcome(delivery)
        note = quarantine.keep_file(
            settings,
            delivery.path,
            file=outcome.file,
            reason=reason,
            delivery=delivery.id,
            options=delivery.options.as_json(),
        )
        outcome.format = WHOLE_FILE
        outcome.records = outcome.quarantined = 1
        outcome.quarantine_item, outcome.sha256 = note.id, note.sha256
        outcome.size = quarantine.content_path(settings, note.id).stat().st_size
        outcome.tell(f"quarantined whole: {reason}")
        ledger.enter(db, ledger.next_entry(db), outcome)
        return outcome


def _outcome(delivery: Delivery) -> Outcome:
    return Outcome(spool.shown(delivery.name), delivery.id, delivery.options.sender or sender())
