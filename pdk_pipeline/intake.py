"""A log is taken in: counted, read, stored, its bad records quarantined, itself archived, and all of it only once."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pdk_pipeline import database, formats, ledger, quarantine, spool
from pdk_pipeline.errors import PassingFault, UnreadableLog
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.formats.text import readable
from pdk_pipeline.ingest import OnDuplicate, ingest
from pdk_pipeline.ledger import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

Progress = Callable[[int, int], None]
"""Is told the bytes done and the bytes in all, now and then."""

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
        return asdict(self)


@dataclass(frozen=True)
class _Delivery:
    """A log handed over to be imported."""

    id: str
    """The same one again changes nothing."""
    path: Path
    name: str
    """What people know it by."""
    options: Options
    origin_sha256: str = ""
    """Of the log that a quarantined record came from, when this is such a record."""


def _no_progress(_done: int, _total: int) -> None:
    pass


def sender() -> str:
    """Who hands over a log from here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "?"
    return f"{user}@{socket.gethostname()}"


def import_file(
    settings: Settings,
    path: Path,
    options: Options,
    *,
    delivery: str,
    archive: bool = False,
    progress: Progress = _no_progress,
) -> Outcome:
    """Import the log at `path` as it stands there, and leave it there unless `archive`.

    `delivery` names this handing-over: the same one again changes nothing.
    Raises UnreadableLog, UnknownFormat.
    """
    with database.opened(settings) as db:
        outcome = _take_in(settings, db, _Delivery(delivery, path, str(path), options), progress)
    if archive and path.exists():
        if path.stat().st_size == outcome.size:
            outcome.archived_as = str(spool.archive(settings, path))
        else:
            outcome.tell("not archived: it has grown since it was read")
    return outcome


def import_claimed(
    settings: Settings, claim: str, *, options: Options | None = None, progress: Progress = _no_progress
) -> Outcome:
    """Import a log that the spool claimed, and archive it.

    Whatever it is, the claim is finished with afterwards: what cannot be read as a log goes to the quarantine whole.
    """
    delivery = f"spool:{claim}"
    with database.opened(settings) as db:
        path = spool.claimed_file(settings, claim)
        if path is None:
            return ledger.recorded(db, delivery) or Outcome(claim, delivery, is_repeated=True)
        handed_over = _Delivery(delivery, path, path.name, options or Options(sender="incoming"))
        try:
            outcome = _take_in(settings, db, handed_over, progress)
        except UnreadableLog as error:
            outcome = _give_up(settings, db, handed_over, str(error))
    archived = spool.archive_claimed(settings, claim, imported_bytes=outcome.size)
    outcome.archived_as = str(archived) if archived else None
    return outcome


def retry(settings: Settings, item: str, *, progress: Progress = _no_progress) -> Outcome:
    """Import a quarantined item again, mended or not. What is still bad stays; what was good is archived.

    Raises UnknownQuarantineItem.
    """
    note = quarantine.note(settings, item)
    content = quarantine.content_path(settings, note.id)
    # The time of the content tells one try from the next; the same one delivered twice is one.
    delivery = f"quarantine:{note.id}:{content.stat().st_mtime_ns}"
    name = f"{note.file.removesuffix(_MENDED)}{_MENDED}"
    handed_over = _Delivery(delivery, content, name, Options.from_json(note.options), note.sha256)
    with database.opened(settings) as db:
        outcome = _take_in(settings, db, handed_over, progress)
    if outcome.quarantine_item == note.id:
        os.utime(content)
    else:
        archived = content.rename(content.with_name(f"mended-{note.id}"))
        outcome.archived_as = str(spool.archive(settings, archived))
        quarantine.drop(settings, note.id)
    return outcome


_MENDED = " (mended)"


def _take_in(settings: Settings, db: Connection, delivery: _Delivery, progress: Progress) -> Outcome:
    before = ledger.recorded(db, delivery.id)
    if before:
        return before
    attempt, failure = ledger.begin_attempt(db, delivery.id)
    if attempt >= settings.most_attempts:
        last = f"the last one ended with {failure}" if failure else "the process was killed"
        return _give_up(settings, db, delivery, f"{attempt - 1} imports of it came to nothing, {last}")
    staging = quarantine.Staging(settings, delivery.id)
    try:
        with database.transaction(db):
            return _store(settings, db, delivery, staging, progress)
    except BaseException as error:
        staging.discard()
        _note_failure(db, delivery.id, error)
        raise


def _note_failure(db: Connection, delivery: str, error: BaseException) -> None:
    """Count the attempt against the log, unless the fault lies elsewhere: a full disk, a stop, a file not there."""
    elsewhere = (UnreadableLog, PassingFault, OSError, sqlite3.OperationalError, KeyboardInterrupt, SystemExit)
    with contextlib.suppress(sqlite3.Error), database.transaction(db):
        if isinstance(error, elsewhere):
            ledger.forget_attempts(db, delivery)
        else:
            ledger.attempt_failed(db, delivery, f"{type(error).__name__}: {error}"[:500])


def _store(
    settings: Settings, db: Connection, delivery: _Delivery, staging: quarantine.Staging, progress: Progress
) -> Outcome:
    """Read and store inside the caller's transaction; the quarantined records are safe before it commits."""
    began = time.perf_counter()
    outcome = _outcome(delivery)
    options = delivery.options
    with open_log(delivery.path) as stream:
        format_ = formats.named(options.format) if options.format else formats.detect(stream.beginning())
        readings = format_.read(
            stream, defaults=options.defaults, zone=settings.zone, record_limit=settings.record_limit_mb << 20
        )
        entry = ledger.open_entry(db, outcome)
        ingest(
            db,
            readings,
            outcome,
            entry=entry,
            now=time.time(),
            on_duplicate=options.on_duplicate,
            reject=staging.add,
            progress=lambda: progress(stream.bytes_read, stream.size),
        )
        outcome.format = format_.NAME
        outcome.sha256 = stream.finish()
        outcome.size = stream.bytes_read
    log_sha256 = delivery.origin_sha256 or outcome.sha256
    outcome.quarantine_item = staging.settle(outcome.file, log_sha256, delivery.id, options.as_json())
    if staging.first_reason:
        outcome.tell(f"quarantined, {staging.first_reason}")
    outcome.seconds = round(time.perf_counter() - began, 4)
    ledger.close_entry(db, entry, outcome)
    return outcome


def _give_up(settings: Settings, db: Connection, delivery: _Delivery, reason: str) -> Outcome:
    """Quarantine a file whole, unread."""
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
    with database.transaction(db):
        ledger.close_entry(db, ledger.open_entry(db, outcome), outcome)
    return outcome


def _outcome(delivery: _Delivery) -> Outcome:
    name = readable(delivery.name.encode("utf-8", "surrogateescape"))
    return Outcome(name, delivery.id, delivery.options.sender or sender())
