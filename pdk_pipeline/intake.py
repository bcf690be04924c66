"""A log is taken in: counted, read, stored, its bad records quarantined, itself archived, and all of it only once."""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pdk_pipeline import database, ledger, quarantine, reading, reading_ahead, spool
from pdk_pipeline.errors import PassingFault, PdkError, ReaderKilled, UnknownClaim, UnknownQuarantineItem, UnreadableLog
from pdk_pipeline.ingest import OnDuplicate, ingest
from pdk_pipeline.ledger import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.reading import Part
    from pdk_pipeline.reading_ahead import Read

Progress = Callable[[int, int], None]
"""Is told the bytes done and the bytes in all, now and then."""

LARGEST_SWELL_BYTES = 256 << 20
MOST_SWELL = 100
"""A log may swell to so many bytes or so many times its size, in the database or in the quarantine: a bomb may not."""

BATCH_LOGS, BATCH_BYTES = 100, 128 << 20
"""So many logs at the most are one batch, or so many bytes: whoever comes next waits for a moment."""

Log = TypeVar("Log")

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


FROM_INCOMING = Options(sender="incoming")


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


def batches(logs: Iterable[Log], size_of: Callable[[Log], int]) -> Iterator[list[Log]]:
    """Logs in their order, together with those that may be handed over together. `size_of`: bytes of each."""
    batch: list[Log] = []
    left = BATCH_BYTES
    for log in logs:
        size = size_of(log)
        if batch and (size > left or len(batch) >= BATCH_LOGS):
            yield batch
            batch, left = [], BATCH_BYTES
        batch.append(log)
        left -= size
    if batch:
        yield batch


def batches_of_claims(settings: Settings, claims: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """`batches` of logs that the spool claimed: claim and name of each."""
    return batches(claims, lambda one: _claimed_size(settings, one[0]))


def _claimed_size(settings: Settings, claim: str) -> int:
    """Bytes of a log that the spool claimed; 0 when it is finished with."""
    path = spool.claimed_file(settings, claim)
    return _size(path) if path else 0


def _size(path: Path) -> int:
    """Bytes of a log; 0 when it cannot be told. Whoever reads it will say why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _no_progress(_done: int, _total: int) -> None:
    pass


@functools.cache
def sender() -> str:
    """Who hands over a log from here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "?"
    return f"{user}@{socket.gethostname()}"


@contextlib.contextmanager
def read_ahead(settings: Settings, paths: Mapping[str, Path], options: Options) -> Iterator[Read]:
    """What is to read logs that will be imported one after the other: ahead, for as long as the inside lasts.

    `paths`: of the logs, by delivery, in their order. When one of them has been begun before, each is read when its
    turn comes: should one of them have killed its import, it must be known which. So it is when the database cannot be
    asked: whoever imports is told of that, log by log.
    """
    logs = list(paths.values())
    try:
        with database.opened(settings) as db:
            if ledger.have_begun(db, paths):
                logs = []
    except (PdkError, sqlite3.Error):
        logs = []
    with reading_ahead.begun(logs, list(map(_size, logs)), _how(settings, options)) as read:
        yield read


def read_claimed_ahead(
    settings: Settings, claims: Iterable[str], options: Options = FROM_INCOMING
) -> AbstractContextManager[Read]:
    """`read_ahead`, of logs that the spool claimed."""
    found = ((_delivery_of(claim), spool.claimed_file(settings, claim)) for claim in claims)
    return read_ahead(settings, {delivery: path for delivery, path in found if path}, options)


def _delivery_of(claim: str) -> str:
    return f"spool:{claim}"


def import_file(
    settings: Settings,
    path: Path,
    options: Options,
    *,
    delivery: str,
    archive: bool = False,
    progress: Progress = _no_progress,
    read: Read = reading.read,
) -> Outcome:
    """Import the log at `path` as it stands there, and leave it there unless `archive`.

    `delivery` names this handing-over: the same one again changes nothing. `read`: see `read_ahead`.
    Raises UnreadableLog, UnknownFormat, ReaderKilled.
    """
    with database.opened(settings) as db:
        outcome = _take_in(settings, db, _Delivery(delivery, path, str(path), options), progress, read)
    if archive and path.exists():
        # By content: when this delivery comes again, another night's log may lie there.
        with path.open("rb") as file:
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == outcome.sha256
        if is_same:
            outcome.archived_as = str(spool.archive(settings, path))
        else:
            outcome.tell("not archived: it has changed since it was read")
    return outcome


def import_claimed(
    settings: Settings,
    claim: str,
    *,
    options: Options = FROM_INCOMING,
    progress: Progress = _no_progress,
    read: Read = reading.read,
) -> Outcome:
    """Import a log that the spool claimed, and archive it. `read`: see `read_ahead`.

    What cannot be read as a log goes to the quarantine whole, and the claim is finished with all the same.
    Raises UnknownClaim, ReaderKilled, and UnreadableLog when it cannot even be copied to the quarantine.
    """
    delivery = _delivery_of(claim)
    with database.opened(settings) as db:
        path = spool.claimed_file(settings, claim)
        if path is None:
            return _finished(settings, db, claim, delivery)
        if path.is_symlink():  # put there between the look and the claim; it may lead anywhere
            raise UnreadableLog(f"{path}: it is not a regular file")
        handed_over = _Delivery(delivery, path, path.name, options)
        try:
            outcome = _take_in(settings, db, handed_over, progress, read)
        except UnreadableLog as error:
            if not path.exists():  # another process has just finished with it
                return _finished(settings, db, claim, delivery)
            try:
                reason = ". ".join(filter(None, (error.particulars, error.advice)))
                outcome = _give_up(settings, db, handed_over, reason)
            except OSError:
                raise error from None
    archived = spool.archive_claimed(settings, claim, imported_bytes=outcome.size)
    outcome.archived_as = str(archived) if archived else None
    return outcome


def _finished(settings: Settings, db: Connection, claim: str, delivery: str) -> Outcome:
    outcome = ledger.recorded(db, delivery)
    if outcome is None:
        raise UnknownClaim(claim, advice=f"Was it claimed in another home than {settings.home}?")
    return outcome


def retry(settings: Settings, item: str, *, progress: Progress = _no_progress) -> Outcome:
    """Import a quarantined item again, mended or not. What is still bad stays; what was good is archived.

    Raises UnknownQuarantineItem.
    """
    with database.opened(settings) as db:
        before = ledger.retried(db, item)
        try:
            note = quarantine.note(settings, item)
        except UnknownQuarantineItem:
            if before is None:
                raise
            return before
        content = quarantine.content_path(settings, note.id)
        if not content.exists():
            if before is None:
                raise UnknownQuarantineItem(
                    f"{note.id} has lost its content", advice="`pdk quarantine drop` removes it."
                )
            quarantine.drop(settings, note.id)  # killed between archiving the content and this
            return before
        # The time of the content tells one try from the next; the same one delivered twice is one.
        edited_at = content.stat().st_mtime_ns
        delivery = f"quarantine:{note.id}:{edited_at}"
        name = f"{note.file.removesuffix(_MENDED)}{_MENDED}"
        handed_over = _Delivery(delivery, content, name, Options.from_json(note.options), note.sha256)
        outcome = _take_in(settings, db, handed_over, progress, reading.read)
    if content.stat().st_mtime_ns != edited_at:
        outcome.tell("edited while it was imported: it stays here, to be tried again")
    elif outcome.quarantine_item == note.id:
        os.utime(content)
    else:
        outcome.archived_as = str(spool.archive(settings, content, f"mended-{note.id}"))
        quarantine.drop(settings, note.id)
    return outcome


_MENDED = " (mended)"


def _take_in(settings: Settings, db: Connection, delivery: _Delivery, progress: Progress, read: Read) -> Outcome:
    before = ledger.recorded(db, delivery.id)
    if before:
        return before
    attempt, failure = ledger.begin_attempt(db, delivery.id, is_excused=delivery.id in _excused)
    _excused.discard(delivery.id)
    if attempt >= settings.most_attempts:
        last = f"the last one ended with {failure}" if failure else "the process was killed"
        return _give_up(settings, db, delivery, f"{attempt - 1} imports of it came to nothing, {last}")
    staging = quarantine.Staging(settings, delivery.id)
    try:
        with database.transaction(db):
            before = ledger.recorded(db, delivery.id)  # another process was quicker, while this one waited
            if before is None:
                return _store(settings, db, delivery, staging, progress, read)
            ledger.forget_attempts(db, delivery.id)
            return before
    except BaseException as error:
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
    delivery: _Delivery,
    staging: quarantine.Staging,
    progress: Progress,
    read: Read,
) -> Outcome:
    """Read and store inside the caller's transaction; the quarantined records are safe before it commits."""
    began = time.perf_counter()
    outcome = _outcome(delivery)
    options = delivery.options
    entry = ledger.open_entry(db, outcome)
    size_before = database.used_bytes(db)

    def look(part: Part) -> None:
        progress(part.bytes_read, part.size)
        _bound_swelling(database.used_bytes(db) - size_before, part, "in the database")
        _bound_swelling(staging.written, part, "that are no results")

    parts = read(delivery.path, _how(settings, options))
    ingest(
        db,
        parts,
        outcome,
        entry=entry,
        now=time.time(),
        on_duplicate=options.on_duplicate,
        reject=staging.add,
        progress=look,
    )
    log_sha256 = delivery.origin_sha256 or outcome.sha256
    outcome.quarantine_item = staging.settle(outcome.file, log_sha256, delivery.id, options.as_json())
    if staging.first_reason:
        outcome.tell(f"quarantined, {staging.first_reason}")
    if not outcome.records:
        outcome.tell("no record stands in it")
    outcome.seconds = round(time.perf_counter() - began, 4)
    ledger.close_entry(db, entry, outcome)
    return outcome


def _how(settings: Settings, options: Options) -> reading.How:
    return reading.How(options.format, options.defaults, settings.zone, settings.record_limit_mb << 20)


def _bound_swelling(written: int, part: Part, where: str) -> None:
    """Raises UnreadableLog when what was read so far has become too much."""
    if written > max(LARGEST_SWELL_BYTES, MOST_SWELL * part.bytes_read):
        raise UnreadableLog(f"it swells to more than {written >> 20} MB {where}")


def _give_up(settings: Settings, db: Connection, delivery: _Delivery, reason: str) -> Outcome:
    """Quarantine a file whole, unread."""
    with database.transaction(db):
        before = ledger.recorded(db, delivery.id)  # as in _take_in
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
        ledger.close_entry(db, ledger.open_entry(db, outcome), outcome)
        return outcome


def _outcome(delivery: _Delivery) -> Outcome:
    return Outcome(spool.shown(delivery.name), delivery.id, delivery.options.sender or sender())
