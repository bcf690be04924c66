"""Logs are taken in: several together, each for itself counted and stored, then archived; and each only once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pdk_pipeline import database
from pdk_pipeline.errors import PdkError, UnknownClaim, UnknownQuarantineItem, UnreadableLog
from pdk_pipeline.intake import archive, ledger, quarantine, reading_ahead, spool
from pdk_pipeline.intake.deliveries import Batch, Delivery, Options, give_up, how, no_progress, take_in
from pdk_pipeline.intake.ledger import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.intake.deliveries import Progress
    from pdk_pipeline.intake.reading_ahead import Read

BATCH_LOGS, BATCH_BYTES = 100, 128 << 20
"""So many logs at the most are one batch, or so many bytes: whoever comes next waits for a moment."""

FROM_INCOMING = Options(sender="incoming")

Item = TypeVar("Item")

Told = Outcome | PdkError | OSError | sqlite3.Error
"""What came of a log, or why nothing did."""

BatchProgress = Callable[[float], None]
"""Is told how many logs are done, and which part of the next."""


# Batches --------------------------------------------------------------------------------------------------------


def batches(logs: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Logs in their order, together with those that may be handed over together. `size_of`: bytes of each."""
    batch: list[Item] = []
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


# Several logs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A log that lies somewhere, and is left there unless it is to be archived."""

    path: Path
    delivery: str
    options: Options
    is_to_archive: bool

    def path_now(self, _settings: Settings) -> Path:
        return self.path

    def take_in(self, settings: Settings, db: Connection, batch: Batch, progress: Progress) -> Outcome:
        return take_in(settings, db, Delivery(self.delivery, self.path, str(self.path), self.options), batch, progress)

    def put_away(self, settings: Settings, outcome: Outcome) -> Outcome:
        if not self.is_to_archive or not self.path.exists():
            return outcome
        # By content: when this delivery comes again, another night's log may lie there.
        with self.path.open("rb") as file:
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == outcome.sha256
        if not is_same:
            outcome.tell("not archived: it has changed since it was read")
            return outcome
        try:
            # One of the archive stays with its day.
            is_there = archive.holds(settings, self.path)
            outcome.archived_as = str(self.path if is_there else archive.put(settings, self.path))
        except OSError as error:  # its results are in, and that must be told
            outcome.is_left = True
            outcome.tell(f"it is imported, and stays where it is: {error.strerror}")
        return outcome


@dataclass(frozen=True)
class _Claim:
    """A log that the spool claimed. It is archived; what cannot be read as a log goes to the quarantine whole."""

    claim: str
    options: Options

    @property
    def delivery(self) -> str:
        return f"spool:{self.claim}"

    def path_now(self, settings: Settings) -> Path | None:
        return spool.claimed_file(settings, self.claim)

    def take_in(self, settings: Settings, db: Connection, batch: Batch, progress: Progress) -> Outcome:
        path = self.path_now(settings)
        if path is None:
            return self._finished(settings, db)
        if path.is_symlink():  # put there between the look and the claim; it may lead anywhere
            raise UnreadableLog(f"{path}: it is not a regular file")
        delivery = Delivery(self.delivery, path, path.name, self.options)
        try:
            return take_in(settings, db, delivery, batch, progress)
        except UnreadableLog as error:
            if not path.exists():  # another process has just finished with it
                return self._finished(settings, db)
            try:
                return give_up(settings, db, delivery, ". ".join(filter(None, (error.particulars, error.advice))))
            except OSError:
                raise error from None

    def _finished(self, settings: Settings, db: Connection) -> Outcome:
        outcome = ledger.recorded(db, self.delivery)
        if outcome is None:
            raise UnknownClaim(self.claim, advice=f"Was it claimed in another home than {settings.home}?")
        return outcome

    def put_away(self, settings: Settings, outcome: Outcome) -> Outcome:
        if archived := spool.archive_claimed(settings, self.claim, imported_bytes=outcome.size):
            outcome.archived_as = str(archived)
        return outcome


def import_files(
    settings: Settings,
    logs: Sequence[tuple[Path, str]],
    options: Options,
    *,
    is_to_archive: bool = False,
    progress: BatchProgress = no_progress,
) -> list[Told]:
    """Import logs as they lie there, and leave them there unless `is_to_archive`. Returns what came of each.

    `logs`: of each its path, and a delivery that names this handing-over: the same one again changes nothing.
    """
    return _import(settings, [_File(path, delivery, options, is_to_archive) for path, delivery in logs], progress)


def import_claims(
    settings: Settings,
    claims: Sequence[str],
    *,
    progress: BatchProgress = no_progress,
) -> list[Told]:
    """Import logs that the spool claimed, and archive them. Returns what came of each.

    What cannot be read as a log goes to the quarantine whole, and the claim is finished with all the same.
    """
    return _import(settings, [_Claim(claim, _options_of(settings, claim)) for claim in claims], progress)


def _options_of(settings: Settings, claim: str) -> Options:
    options = spool.options_of(settings, claim)
    return FROM_INCOMING if options is None else Options.from_json(options)


def _import(settings: Settings, logs: Sequence[_File | _Claim], progress: BatchProgress) -> list[Told]:
    """Import each, whatever is wrong with another.

    They are read ahead, each is stored by a transaction of its own, and the disk is waited for once.
    """
    told: list[Told] = []
    with database.kept_open():
        try:
            with _read_ahead(settings, logs) as read:
                batch = Batch(read)
                for number, log in enumerate(logs):
                    progress(number)
                    told.append(_attempted(_take_in, settings, log, batch, _of_one(progress, number)))
        finally:  # Ctrl-C or not: what is in is archived
            database.sync(settings)
            told = [_put_away(settings, log, one) for log, one in zip(logs, told, strict=False)]
    return told


def _of_one(progress: BatchProgress, number: int) -> Progress:
    return lambda done, total: progress(number + (done / total if total else 1))


def _attempted(do: Callable[..., Outcome], *arguments: Any) -> Told:
    try:
        return do(*arguments)
    except (PdkError, OSError, sqlite3.Error) as error:
        return error


def _take_in(settings: Settings, log: _File | _Claim, batch: Batch, progress: Progress) -> Outcome:
    with database.opened(settings) as db:
        return log.take_in(settings, db, batch, progress)


def _put_away(settings: Settings, log: _File | _Claim, told: Told) -> Told:
    if not isinstance(told, Outcome):
        return told
    return _attempted(log.put_away, settings, told)


@contextlib.contextmanager
def _read_ahead(settings: Settings, logs: Sequence[_File | _Claim]) -> Iterator[Read]:
    """What is to read the logs, one after the other: ahead, for as long as the inside lasts.

    Ahead are those read that have the options of the first, nearly always all.

    When one of them has been begun before, each is read when its turn comes: should one of them have killed its import,
    it must be known which. So it is when the database cannot be asked: that is told of each log.
    """
    options = logs[0].options if logs else FROM_INCOMING
    alike = [log for log in logs if log.options == options] if len(logs) > 1 else []
    paths = [path for log in alike if (path := log.path_now(settings))]
    try:
        if paths:
            with database.opened(settings) as db:
                if ledger.have_begun(db, [log.delivery for log in logs]):
                    paths = []
    except (PdkError, sqlite3.Error):
        paths = []
    with reading_ahead.begun(paths, list(map(_size, paths)), how(settings, options)) as read:
        yield read


# What was quarantined -------------------------------------------------------------------------------------------


def retry_all(settings: Settings, items: Sequence[str], *, progress: BatchProgress = no_progress) -> list[Told]:
    """`retry` each. Returns what came of it."""
    return [_attempted(retry, settings, item, _of_one(progress, number)) for number, item in enumerate(items)]


def retry(settings: Settings, item: str, progress: Progress = no_progress) -> Outcome:
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
        handed_over = Delivery(delivery, content, name, Options.from_json(note.options), note.sha256)
        outcome = take_in(settings, db, handed_over, Batch(), progress)
    database.sync(settings)
    if content.stat().st_mtime_ns != edited_at:
        outcome.tell("edited while it was imported: it stays here, to be tried again")
    elif outcome.quarantine_item == note.id:
        os.utime(content)
    else:
        outcome.archived_as = str(archive.put(settings, content, f"mended-{note.id}"))
        quarantine.drop(settings, note.id)
    return outcome


def drop(settings: Settings, item: str) -> None:
    """Delete a quarantined item for good. Raises UnknownQuarantineItem."""
    name = quarantine.note(settings, item).id
    with database.writing(settings) as db:
        ledger.forget_quarantined(db, name)
    quarantine.drop(settings, name)


_MENDED = " (mended)"
