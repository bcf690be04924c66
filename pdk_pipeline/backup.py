"""Copies of the database while the system runs, and the way back.

A backup is one SQLite file, whole and checked before it gets its name, so that whatever has that name can be restored:
a kill leaves a hidden `.part` file, which the next backup to the same place removes. The spool is plain files, whose
names never change once they lie in the archive: any copying program is good enough for them.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import sqlite3
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from pdk_pipeline import database, schema, writer_lock
from pdk_pipeline.durable import sync
from pdk_pipeline.errors import (
    BackupRefused,
    BadBackup,
    DatabaseTooNew,
    DatabaseUnusable,
    DiskFull,
    NoDatabase,
    WriterBusy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings

    Progress = Callable[[int, int], None]

PAGES_AT_ONCE = 4_096
"""So many pages are copied before it is told how far it is."""

_NAME = re.compile(r"pdk-[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}\.db")
_MAGIC = b"SQLite format 3\0"
_JOURNAL_MODE_BYTES = 18
"""Where in the file stands how it is written and read; 1, 1 is without a write-ahead log."""


@dataclass
class Backup:
    """A backup that was made."""

    path: str
    bytes: int
    seconds: float
    removed: list[str] = field(default_factory=list)
    """Older ones that went for it."""

    def as_json(self) -> dict[str, Any]:
        """For a task's result."""
        return asdict(self)


@dataclass
class Restored:
    """A database that was put back."""

    backup: str
    aside: str | None
    """Where the one before is now; None: there was none."""
    newest_import: float | None
    """When the last log in it was imported; seconds since 1970, UTC."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def _no_progress(_done: int, _total: int) -> None:
    pass


# Making one --------------------------------------------------------------------------------------------------


def make(
    settings: Settings, target: Path | None = None, *, keep: int = 0, now: float, progress: Progress = _no_progress
) -> Backup:
    """Copy the database as it is at one moment, whatever is written meanwhile. `now`: seconds since 1970.

    `target` is a file, or a directory in which the backup is named by the time and only so many are kept (`keep`; 0 is
    the setting's); None is the setting `backup_directory`, which is made.
    Raises BackupRefused, NoDatabase, DatabaseUnusable when the copy is not sound, DiskFull.
    """
    began = time.perf_counter()
    if not settings.database.exists():
        raise NoDatabase(str(settings.database), advice="There is nothing to back up.")
    directory = target if target and target.is_dir() else None if target else _own_directory(settings)
    path = directory / f"pdk-{_stamp(settings, now)}.db" if directory else target
    assert path  # noqa: S101
    _check_target(settings, path)
    if directory:
        _sweep(directory)
    with _part_of(path) as part:
        _copy(settings.database, part, progress)
        if problem := _problem_of(part):
            raise DatabaseUnusable(f"{settings.database}: {problem}", advice="An older backup may be whole.")
        size = part.stat().st_size
        part.replace(path)
        sync(path.parent)
    removed = _thin_out(directory, keep or settings.keep_backups) if directory else []
    return Backup(str(path), size, round(time.perf_counter() - began, 3), removed)


def _own_directory(settings: Settings) -> Path:
    if settings.backup_directory is None:
        raise BackupRefused("nothing says where", advice="Name a file or a directory, or set backup_directory.")
    try:
        settings.backup_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackupRefused(f"{settings.backup_directory}: {error.strerror}") from None
    return settings.backup_directory


def _stamp(settings: Settings, now: float) -> str:
    return f"{datetime.fromtimestamp(now, tz=settings.zone):%Y-%m-%dT%H%M%S}"


def _check_target(settings: Settings, path: Path) -> None:
    if not path.parent.is_dir():
        raise BackupRefused(f"{path.parent} is no directory", advice="Make it first.")
    if not path.exists():
        return
    if not path.is_file():
        # It would not be written to, but take its name away: /dev/null would be a file, for everybody.
        raise BackupRefused(f"{path} is neither a file nor a directory", advice="Give another name.")
    if not path.stat().st_size:
        return
    if path.samefile(settings.database):
        raise BackupRefused(f"{path} is the database itself")
    try:
        _version_of(path)
    except (BadBackup, DatabaseTooNew):
        raise BackupRefused(f"{path} is something else than a backup", advice="Give another name.") from None


@contextlib.contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """The file to be written before it gets the name `path`; nobody else is writing it, and it is gone afterwards."""
    part = path.with_name(f".{path.name}.part")
    try:
        lock = part.open("wb")
    except OSError as error:
        raise BackupRefused(f"{part.parent}: {error.strerror}") from None
    with lock:
        if not _is_ours(lock):
            raise BackupRefused(f"another process is writing {path}")
        try:
            yield part
        except (OSError, sqlite3.Error) as error:
            raise _fault(path, error) from error
        finally:
            part.unlink(missing_ok=True)


def _is_ours(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fault(path: Path, error: OSError | sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in {28, 122}  # no space left, quota exceeded
    return DiskFull(str(path.parent)) if full else BackupRefused(f"{path}: {error}")


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """Copy a database as it is at one moment into an empty file, safe from a power cut."""
    with (
        contextlib.closing(database.connect(source, read_only=True)) as db,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        # Inside a transaction what is copied is of one moment; without one each write begins the copying anew.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        db.backup(copy, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
    with target.open("r+b") as file:
        # A backup is complete in one file, and can be read from where nothing can be written.
        file.seek(_JOURNAL_MODE_BYTES)
        file.write(b"\1\1")
        file.flush()
        os.fsync(file.fileno())


def _problem_of(path: Path) -> str:
    """What is wrong with a file that nobody writes; empty: nothing."""
    with contextlib.closing(_looked_at(path)) as db:
        try:
            (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
    return "" if found == "ok" else str(found).splitlines()[-1]


def _looked_at(path: Path) -> sqlite3.Connection:
    from urllib.parse import quote  # noqa: PLC0415  (seldom wanted)

    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?immutable=1", uri=True)


def _version_of(path: Path) -> int:
    """The schema version of a backup. Raises BadBackup, DatabaseTooNew."""
    try:
        with contextlib.closing(_looked_at(path)) as db:
            version = database.schema_version(db)
            is_ours = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'import_file'").fetchone()
    except sqlite3.DatabaseError as error:
        raise BadBackup(f"{path}: {error}") from None
    if not is_ours or not version:
        raise BadBackup(f"{path} is no database of pdk's")
    if version > schema.newest_version():
        raise DatabaseTooNew(
            f"{path} has version {version}, this pdk knows {schema.newest_version()}", advice="Upgrade pdk-pipeline."
        )
    return version


def _sweep(directory: Path) -> None:
    """Remove what killed backups have left behind."""
    for part in directory.glob(".pdk-*.db.part"):
        with contextlib.suppress(OSError), part.open("rb") as lock:
            if _is_ours(lock):
                part.unlink()


def _thin_out(directory: Path, keep: int) -> list[str]:
    """Remove the oldest backups of a directory beyond so many. Returns their paths."""
    backups = sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))
    old = backups[: max(0, len(backups) - keep)]
    for path in old:
        path.unlink(missing_ok=True)
    return [str(path) for path in old]


# The way back ------------------------------------------------------------------------------------------------


def restore(settings: Settings, backup: Path, *, now: float, progress: Progress = _no_progress) -> Restored:
    """Put a backup in the place of the database, which is kept beside it under another name.

    At every moment there is one of the two, whole. Raises BadBackup, DatabaseTooNew; WriterBusy when anybody else has
    the database open; BackupRefused, DiskFull.
    """
    if not backup.is_file():
        raise BadBackup(f"{backup} is no file")
    _version_of(backup)
    with (
        writer_lock.held(settings, "pdk restore", wait_seconds=0),
        _part_of(settings.database) as part,
    ):
        _copy(backup, part, progress)
        if problem := _problem_of(part):
            raise BadBackup(f"{backup}: {problem}")
        with contextlib.closing(_looked_at(part)) as db:
            (newest,) = db.execute("SELECT max(imported_at) FROM import_file").fetchone()
        aside = _set_aside(settings, now)
        part.replace(settings.database)
        sync(settings.home)
    return Restored(str(backup), str(aside) if aside else None, newest)


def _set_aside(settings: Settings, now: float) -> Path | None:
    """Give the database that is there a second name, complete in one file."""
    path = settings.database
    is_there = path.exists()
    if is_there and _begins_well(path):
        _complete(path)
    aside = _free(path.with_name(f"{path.name}.before-{_stamp(settings, now)}"))
    for suffix in ("-wal", "-shm", "-journal"):
        # Only one too damaged to be opened has left any; what is restored must not find them.
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    if not is_there:
        return None
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links
        path.rename(aside)
    return aside


def _begins_well(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _free(path: Path) -> Path:
    """That path, or one like it that nothing has."""
    paths = itertools.chain([path], (path.with_name(f"{path.name}.{number}") for number in itertools.count(1)))
    return next(path for path in paths if not path.exists())


def _complete(path: Path) -> None:
    """Write what is in the write-ahead log into the database itself. Raises WriterBusy when somebody has it open."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise WriterBusy(f"it has {path} open", advice="Try again when it has finished.") from None
    except sqlite3.DatabaseError:
        pass  # damaged: perhaps the very reason for going back
