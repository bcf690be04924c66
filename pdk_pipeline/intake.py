"""A log is taken in: counted, read, stored, its bad records quarantined, itself archived, and all of it only once."""

from __future__ import annotations

import contextlib
import getpass
import socket
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pdk_pipeline import database, formats, ledger, quarantine, spool
from pdk_pipeline.errors import UnreadableLog
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.formats.text import readable
from pdk_pipeline.ingest import OnDuplicate, ingest
from pdk_pipeline.ledger import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection

Progress = "Callable[[int, int], None]"


def sender() -> str:
    """Who hands over a log from here."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "?"
    return f"{user}@{socket.gethostname()}"


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


def _no_progress(_done: int, _total: int) -> None:
    pass


def import_file(
    settings: Settings,
    path: Path,
    options: Options,
    *,
    delivery: str,
    archive: bool = False,
    progress: Callable[[int, int], None] = _no_progress,
) -> Outcome:
    """Import the log at `path` as it stands there, and leave it there unless `archive`.

    `delivery` names this handing-over: the same one again changes nothing. `progress` gets bytes done and in all.
    Raises UnreadableLog, UnknownFormat.
    """
    with database.opened(settings) as db:
        outcome = _take_in(settings, db, path, str(path), options, delivery, progress)
    if archive and path.exists():
        outcome.archived_as = str(spool.archive(settings, path))
    return outcome


def import_claimed(
    settings: Settings,
    claim: str,
    *,
    options: Options | None = None,
    progress: Callable[[int, int], None] = _no_progress,
) -> Outcome:
    """Import a log that the spool claimed, and archive it.

    Whatever it is, the claim is finished with afterwards: what cannot be read as a log goes to the quarantine whole.
    """
    delivery = f"spool:{claim}"
    options = options or Options(sender="incoming")
    with database.opened(settings) as db:
        path = spool.claimed_file(settings, claim)
        if path is None:
            return ledger.recorded(db, delivery) or Outcome(claim, delivery, is_repeated=True)
        try:
            outcome = _take_in(settings, db, path, path.name, options, delivery, progress)
        except UnreadableLog as error:
            outcome = _give_up(settings, db, path, path.name, options, delivery, str(error))
    whole = outcome.quarantine_item if outcome.format == WHOLE_FILE else None
    archived = spool.archive_claimed(settings, claim, imported_bytes=None if whole else outcome.size)
    outcome.archived_as = str(archived) if archived else None
    return outcome


def retry(settings: Settings, item: str, *, progress: Callable[[int, int], None] = _no_progress) -> Outcome:
    """Import a quarantined item again, mended or not. What is still bad stays; what was good is archived.

    Raises UnknownQuarantineItem.
    """
    note = quarantine.note(settings, item)
    content = quarantine.content_path(settings, note.id)
    options = Options.from_json(note.options)
    # The time of the content tells one mending from the next; the same one delivered twice is one.
    delivery = f"quarantine:{note.id}:{content.stat().st_mtime_ns}"
    with database.opened(settings) as db:
        if ledger.recorded(db, delivery):  # killed, or found bad again, and nobody has mended it since
            with database.transaction(db):
                db.execute("DELETE FROM import_file WHERE delivery = ?", (delivery,))
        outcome = _take_in(settings, db, content, f"{note.file} (mended)", options, delivery, progress)
    if outcome.quarantine_item != note.id:
        archived = content.rename(content.with_name(f"mended-{note.id}"))
        outcome.archived_as = str(spool.archive(settings, archived))
        quarantine.drop(settings, note.id)
    return outcome


WHOLE_FILE = "none"
"""The `format` of a file that was quarantined whole."""


def _take_in(
    settings: Settings,
    db: Connection,
    path: Path,
    name: str,
    options: Options,
    delivery: str,
    progress: Callable[[int, int], None],
) -> Outcome:
    before = ledger.recorded(db, delivery)
    if before:
        return before
    name = readable(name.encode("utf-8", "surrogateescape"))
    attempt = ledger.begin_attempt(db, delivery)
    if attempt >= settings.most_attempts:
        reason = f"its import was killed {attempt - 1} times"
        return _give_up(settings, db, path, name, options, delivery, reason)
    outcome = Outcome(name, delivery, options.sender or sender())
    staging = quarantine.Staging(settings, delivery)
    try:
        with database.transaction(db):
            _store(settings, db, path, options, outcome, staging, progress)
    except BaseException:
        staging.discard()
        # It ended of itself: whatever went wrong, the log did not kill the process.
        with contextlib.suppress(Exception), database.transaction(db):
            ledger.end_attempt(db, delivery)
        raise
    return outcome


def _store(
    settings: Settings,
    db: Connection,
    path: Path,
    options: Options,
    outcome: Outcome,
    staging: quarantine.Staging,
    progress: Callable[[int, int], None],
) -> None:
    """Read and store inside the caller's transaction; the quarantined records are safe before it commits."""
    began = time.perf_counter()
    with open_log(path) as stream:
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
    outcome.quarantine_item = staging.settle(outcome.file, outcome.sha256, outcome.delivery, options.as_json())
    if staging.first_reason:
        outcome.tell(f"quarantined, {staging.first_reason}")
    outcome.seconds = round(time.perf_counter() - began, 4)
    ledger.close_entry(db, entry, outcome)


def _give_up(
    settings: Settings, db: Connection, path: Path, name: str, options: Options, delivery: str, reason: str
) -> Outcome:
    """Quarantine a file whole, unread."""
    outcome = Outcome(name, delivery, options.sender or sender(), format=WHOLE_FILE, records=1, quarantined=1)
    outcome.tell(f"quarantined whole: {reason}")
    outcome.quarantine_item = quarantine.keep_file(
        settings, path, file=name, reason=reason, delivery=delivery, options=options.as_json()
    )
    with database.transaction(db):
        ledger.close_entry(db, ledger.open_entry(db, outcome), outcome)
    return outcome
