"""The one place that opens SQLite: connections, transactions, migrations."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import zstandard

from pdk_pipeline import durable, schema
from pdk_pipeline.errors import (
    DatabaseTooNew,
    DatabaseTooOld,
    DatabaseUnusable,
    DiskFull,
    NoDatabase,
    PdkError,
    WriterBusy,
)
from pdk_pipeline.formats.text import readable, undotted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings

BUSY_SECONDS = 60
"""How long a statement waits for another connection's transaction; ours are short, so this is never felt."""

SCARCE_BYTES = 256 << 10
"""When an operation fails and no more room than this is left, that is why."""

USERS_FAULTS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""Kinds of faults that a user can do something about."""

RESTORE = "A backup, or importing archive/ again, brings it back."
"""What to do about a damaged database."""


class Connection(sqlite3.Connection):
    """An open database."""

    is_synced = True
    """Whether a COMMIT waits for the disk."""


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """An open connection with every pragma and function that we rely on; no transaction is begun.

    Raises NoDatabase when `read_only` and there is none, DatabaseUnusable when SQLite cannot open it or another
    program made it, DatabaseTooNew when a newer pdk made it, WriterBusy when another program keeps it locked, DiskFull.
    """
    if read_only and not os.path.lexists(path):
        raise NoDatabase(str(path), advice="`pdk initdb` makes one, and so does the first `pdk import`.")
    try:
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, factory=Connection)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    try:
        is_new = _is_new(db, path)
        if not read_only:
            if is_new:  # only then can it be set, and asking costs the write lock; it lets the file shrink again
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _use_wal(db)
        # After a power cut nothing is missing that somebody was told of.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        # Some systems build SQLite to overwrite what is deleted, page by page: `clean` would write all that it removes.
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cache_size = -65536")
        if read_only:
            db.execute("PRAGMA query_only = ON")
        db.create_function("pdk_log", 4, _LogReader(), deterministic=True)
    except sqlite3.Error as error:
        db.close()
        raise _unusable(path, error) from None
    except PdkError:
        db.close()
        raise
    return db


def _is_new(db: Connection, path: Path) -> bool:
    """Whether nothing has been made of the file yet. Raises DatabaseUnusable, DatabaseTooNew when it is not ours."""
    # The tables are asked for first: another process may be making ours at this moment.
    holds_tables = db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    version = schema_version(db)
    if holds_tables and version == 0:
        raise DatabaseUnusable(f"{path} holds tables of another program", advice="PDK_HOME names another place.")
    if version > schema.newest_version():
        raise DatabaseTooNew(
            f"{path} has version {version}, this pdk knows {schema.newest_version()}", advice="Upgrade pdk-pipeline."
        )
    return not holds_tables


def _use_wal(db: Connection) -> None:
    # The one statement that does not wait when another connection is about the same.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is(error, sqlite3.SQLITE_BUSY) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A connection that only reads, inside one transaction: everything read is of the same moment.

    Raises NoDatabase, DatabaseUnusable, DatabaseTooNew, DatabaseTooOld.
    """
    with faults_in_words(settings.database), contextlib.closing(connect(settings.database, read_only=True)) as db:
        db.execute("BEGIN")
        version = schema_version(db)
        if version == 0:
            raise NoDatabase(f"{settings.database} is empty", advice="`pdk initdb` makes it ready.")
        if version < schema.newest_version():
            raise DatabaseTooOld(
                f"{settings.database} has version {version}", advice="`pdk initdb` brings it up to date."
            )
        yield db


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Connection]:
    """A connection that may write, with the schema up to date and no transaction begun (see `transaction`).

    Raises DatabaseUnusable, DatabaseTooNew; DiskFull and WriterBusy, also when that stops the statements inside.
    """
    with faults_in_words(settings.database), _connection(settings.database) as db:
        yield db


@contextlib.contextmanager
def faults_in_words(path: Path) -> Iterator[None]:
    """What a user can do something about is told with what to do; anything else is raised as it is.

    Raises DatabaseUnusable, DiskFull, WriterBusy.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if any(_is(error, kind) for kind in USERS_FAULTS) or _is_full(path, error):
            raise _unusable(path, error) from error
        raise


class _Kept(threading.local):
    """Connections of this thread that stay open, each with the file that it is to, by path; None: they do not."""

    connections: dict[Path, tuple[Connection, tuple[int, int]]] | None = None


_kept = _Kept()


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Inside, what `opened` opens stays open, and is given again the next time.

    To open and to close cost as much as to import a hundred results: the schema is read, and behind its last
    connection SQLite tidies up.
    """
    if _kept.connections is not None:
        yield
        return
    _kept.connections = {}
    try:
        yield
    finally:
        connections, _kept.connections = _kept.connections, None
        for db, _ in connections.values():
            db.close()


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[Connection]:
    """A connection of our own, which is closed at the end, or kept if nothing went wrong."""
    kept = _kept.connections
    held = kept.pop(path, None) if kept is not None else None
    if held is not None and held[1] != _file(path):  # somebody has put another one in its place
        held[0].close()
        held = None
    if held is None:
        held = _connected(path), _file(path)
    db = held[0]
    try:
        yield db
    except BaseException:
        db.close()
        raise
    if kept is None or path in kept:
        db.close()
    else:
        kept[path] = held


def _connected(path: Path) -> Connection:
    """A new connection, with the schema up to date."""
    _make_home(path.parent)
    db = connect(path)
    try:
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusable(
            f"{home} cannot be made: {error.strerror}", advice="PDK_HOME names another place."
        ) from None


def _file(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except FileNotFoundError:
        return 0, 0
    return about.st_dev, about.st_ino


def _is(error: sqlite3.Error, code: int) -> bool:
    """Whether a fault is of that kind; SQLite tells the kind in the lower byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def _is_full(path: Path, error: sqlite3.Error) -> bool:
    """Whether the disk has no room: where a file beside the database finds none, SQLite calls it an I/O error."""
    if _is(error, sqlite3.SQLITE_IOERR) or _is(error, sqlite3.SQLITE_CANTOPEN):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(path.parent).free < SCARCE_BYTES
    return _is(error, sqlite3.SQLITE_FULL)


def _unusable(path: Path, error: sqlite3.Error) -> PdkError:
    if _is_full(path, error):
        return DiskFull(str(path), advice="Nothing of it was stored; make room and do it again.")
    if _is(error, sqlite3.SQLITE_BUSY):
        return WriterBusy(f"it keeps {path} locked", advice="Is it open in an sqlite3 shell, inside a transaction?")
    if _is(error, sqlite3.SQLITE_NOTADB) or _is(error, sqlite3.SQLITE_CORRUPT):
        advice = RESTORE
    elif _is(error, sqlite3.SQLITE_CANTOPEN) or _is(error, sqlite3.SQLITE_READONLY):
        advice = "Work as its owner, or let PDK_HOME name another place."
    else:
        advice = "`pdk doctor` looks for the cause."
    return DatabaseUnusable(f"{path}: {error}", advice)


@contextlib.contextmanager
def transaction(db: Connection, *, is_synced: bool = True) -> Iterator[None]:
    """Everything inside becomes true together or not at all.

    Without `is_synced` it outlives a killed process, but a power cut only after `sync`.
    """
    if db.is_synced != is_synced:  # not each time: SQLite makes a new statement of it
        db.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
        db.is_synced = is_synced
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def sync(settings: Settings) -> None:
    """Have the disk hold every transaction that was committed, whoever did it."""
    # What is no longer in the journal SQLite itself has synced, before it overwrote it.
    journal = _journal(settings)
    with contextlib.suppress(FileNotFoundError):
        durable.sync(journal)
        durable.sync(journal.parent)


def _journal(settings: Settings) -> Path:
    # Of a link SQLite has it beside the file that the link leads to.
    path = settings.database.resolve()
    return path.with_name(f"{path.name}-wal")


@contextlib.contextmanager
def writing(settings: Settings) -> Iterator[Connection]:
    """A connection inside one transaction, committed at the end: what most tasks need."""
    with opened(settings) as db, transaction(db):
        yield db


def bytes_on_disk(settings: Settings) -> int:
    """How large the file of the database is, with the journal beside it; 0 when there is none."""
    return sum(file.stat().st_size for file in (settings.database, _journal(settings)) if file.exists())


def used_bytes(db: Connection) -> int:
    """How large the database is without its free pages, what the transaction has written so far included."""
    (pages,), (free,), (size,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def next_id(db: Connection, table: str) -> int:
    """The id that the AUTOINCREMENT table would give next; ours to give, inside the transaction."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1


# Migrations -------------------------------------------------------------------------------------------------


def schema_version(db: sqlite3.Connection) -> int:
    """The version of an open database; 0 is an empty one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: Connection) -> int:
    """Bring the schema up to date, each step in a transaction of its own. Returns how many steps were needed."""
    if schema_version(db) == schema.newest_version():
        return 0
    steps = 0
    for number, script in schema.migrations():
        with transaction(db):
            # Asked again inside the transaction: another process may have been quicker.
            if schema_version(db) >= number:
                continue
            for statement in schema.statements(script):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
            steps += 1
    return steps


# Logs -------------------------------------------------------------------------------------------------------


@functools.cache
def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()


def unpack(block: bytes) -> bytes:
    """The bytes of a log block (table `log_block`)."""
    return _decompressor().decompress(block)


class _LogReader:
    """The SQL function pdk_log(block id, data, start, length): a result's log as text."""

    def __init__(self) -> None:
        self.block_id: int | None = None
        self.unpacked = b""

    def __call__(self, block_id: int | None, data: bytes | None, start: int | None, length: int | None) -> str | None:
        if data is None or start is None or length is None:
            return None
        if block_id != self.block_id:  # neighbours share a block: unpack it once
            self.block_id, self.unpacked = block_id, unpack(data)
        return readable(undotted(self.unpacked[start : start + length]))
