"""Opening, migrating, transactions, and the lock of the one writer."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest

from pdk_pipeline import database, schema, writer_lock
from pdk_pipeline.errors import (
    DatabaseTooNew,
    DatabaseTooOld,
    DatabaseUnusable,
    DiskFull,
    NoDatabase,
    WriterBusy,
)
from tests.machine import needs_permissions


def schema_of(db) -> list[tuple]:
    return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def told(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


# Opening --------------------------------------------------------------------------------------------------------


def test_a_connection_is_set_up_for_safety_and_for_giving_space_back(home):
    with database.opened(home) as db:
        said = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "busy_timeout")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2, "busy_timeout": 60000}


def test_reading_cannot_write(home):
    with database.opened(home):
        pass
    with database.reading(home) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM run")


def test_what_one_reads_is_of_one_moment(home):
    with database.opened(home):
        pass
    with database.reading(home) as reader:
        assert reader.execute("SELECT count(*) FROM run").fetchone() == (0,)
        with database.writing(home) as writer:
            writer.execute("INSERT INTO run (name, created_at) VALUES ('r', 0)")
        assert reader.execute("SELECT count(*) FROM run").fetchone() == (0,)


def test_without_a_database_there_is_advice(home):
    with pytest.raises(NoDatabase) as none, database.reading(home):
        pass
    assert told(none.value).startswith(f"There is no database yet: {home.database}. `pdk initdb` makes one")
    home.database.touch()
    with pytest.raises(NoDatabase, match="is empty"), database.reading(home):
        pass
    assert home.database.stat().st_size == 0


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(home):
    content = b"test_run=r\n" * 1000
    home.database.write_bytes(content)
    for opening in (database.opened, database.reading):
        with pytest.raises(DatabaseUnusable) as refused, opening(home):
            pass
        assert told(refused.value).startswith(f"The database cannot be used: {home.database}: file is not a database")
    assert home.database.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_as_it_is(home):
    with contextlib.closing(sqlite3.connect(home.database)) as db:
        db.execute("CREATE TABLE result_scalar (key_id)")
    content = home.database.read_bytes()
    for opening in (database.opened, database.reading):
        with pytest.raises(DatabaseUnusable) as refused, opening(home):
            pass
        assert "holds tables of another program. PDK_HOME names another place." in told(refused.value)
    assert home.database.read_bytes() == content


def test_a_directory_in_its_place(home):
    home.database.mkdir()
    for opening in (database.opened, database.reading):
        with pytest.raises(DatabaseUnusable) as refused, opening(home):
            pass
        assert "unable to open database file" in told(refused.value)


def test_a_file_in_place_of_the_home(home):
    (home.home / "pdk.toml").unlink()
    home.home.rmdir()
    home.home.write_text("")
    with pytest.raises(DatabaseUnusable) as refused, database.opened(home):
        pass
    assert "cannot be made: File exists. PDK_HOME names another place." in told(refused.value)
    with pytest.raises(DatabaseUnusable), writer_lock.held(home, "test", wait_seconds=0):
        pass


@needs_permissions
def test_a_home_that_may_not_be_written(home):
    home.home.chmod(0o500)
    try:
        with pytest.raises(DatabaseUnusable) as refused, database.opened(home):
            pass
        assert "unable to open database file" in told(refused.value)
        with pytest.raises(DatabaseUnusable) as refused, writer_lock.held(home, "test", wait_seconds=0):
            pass
        assert "cannot be written: Permission denied. PDK_HOME names another place." in told(refused.value)
        home.home.chmod(0)
        with pytest.raises((DatabaseUnusable, NoDatabase)), database.reading(home):
            pass
    finally:
        home.home.chmod(0o700)


@needs_permissions
def test_a_database_that_may_only_be_read_can_be_read(home):
    with database.writing(home) as db:
        db.execute("INSERT INTO run (name, created_at) VALUES ('r', 0)")
    home.database.chmod(0o400)
    with database.reading(home) as db:
        assert db.execute("SELECT name FROM run").fetchall() == [("r",)]
    with pytest.raises(DatabaseUnusable, match="readonly"), database.writing(home) as db:
        db.execute("DELETE FROM run")


def test_a_damaged_database_is_one_line(home):
    with database.opened(home):
        pass
    content = home.database.read_bytes()
    home.database.write_bytes(content[:100] + b"\xff" * 3000 + content[3100:])
    with pytest.raises(DatabaseUnusable) as refused, database.reading(home):
        pass
    assert "malformed" in told(refused.value)


# Migrations -----------------------------------------------------------------------------------------------------


def scripts() -> list[tuple[int, str]]:
    files = [file for file in resources.files("pdk_pipeline.schema").iterdir() if file.name.endswith(".sql")]
    return sorted((int(file.name.partition("_")[0]), file.read_text()) for file in files)


def test_every_migration_has_a_number_of_its_own():
    numbers = [number for number, _ in scripts()]
    assert len(set(numbers)) == len(numbers)
    assert schema.newest_version() == numbers[-1]


def test_migrating_gives_the_same_schema_as_a_fresh_start(home):
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        for _, script in scripts():
            fresh.executescript(script)
        with database.opened(home) as db:
            assert schema_of(db) == schema_of(fresh)
            assert database.schema_version(db) == schema.newest_version()


@pytest.mark.parametrize("version", [number for number, _ in scripts()])
def test_from_every_older_version_one_comes_to_the_newest(home, version):
    with contextlib.closing(sqlite3.connect(home.database)) as old:
        for number, script in scripts():
            if number <= version:
                old.executescript(f"{script}; PRAGMA user_version = {number}")
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh, database.opened(home) as db:
        for _, script in scripts():
            fresh.executescript(script)
        assert schema_of(db) == schema_of(fresh)


def test_a_migration_is_done_whole_or_not_at_all(home, monkeypatch):
    good, bad = "CREATE TABLE a (x);\n", "CREATE TABLE b (x);\nCREATE TABLE a (x);\n"
    monkeypatch.setattr(schema, "migrations", lambda: ((1, good), (2, bad)))
    with pytest.raises(sqlite3.OperationalError, match="already exists"), database.opened(home):
        pass
    with contextlib.closing(database.connect(home.database)) as db:
        assert [name for _, name, _, _ in schema_of(db)] == ["a"]
        assert database.schema_version(db) == 1


def test_an_older_database_is_not_read_but_brought_up_to_date(home, monkeypatch):
    with database.opened(home):
        pass
    newer = (*schema.migrations(), (1000, "CREATE TABLE news (x);\n"))
    monkeypatch.setattr(schema, "migrations", lambda: newer)
    with pytest.raises(DatabaseTooOld) as refused, database.reading(home):
        pass
    assert "`pdk initdb` brings it up to date." in told(refused.value)
    with database.opened(home):
        pass
    with database.reading(home) as db:
        assert db.execute("SELECT * FROM news").fetchall() == []


def test_a_newer_database_is_refused_and_left_as_it_is(home):
    with database.opened(home) as db:
        db.execute("PRAGMA user_version = 1000")
    content = home.database.read_bytes()
    for opening in (database.opened, database.reading):
        with pytest.raises(DatabaseTooNew) as refused, opening(home):
            pass
        assert told(refused.value) == (
            f"The database was made by a newer pdk: {home.database} has version 1000, "
            f"this pdk knows {schema.newest_version()}. Upgrade pdk-pipeline."
        )
    assert home.database.read_bytes() == content


def test_many_that_make_the_database_at_once_make_it_once(tmp_path):
    def make(path: Path, start: threading.Barrier) -> int:
        start.wait()
        with contextlib.closing(database.connect(path)) as db:
            return database.migrate(db)

    with ThreadPoolExecutor(5) as pool:
        for number in range(15):
            start = threading.Barrier(5)
            steps = pool.map(make, [tmp_path / f"{number}.db"] * 5, [start] * 5)
            assert sum(steps) == len(scripts())


# Transactions ---------------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(home):
    with database.opened(home) as db:
        with pytest.raises(KeyboardInterrupt):
            _insert_runs(db, raising=KeyboardInterrupt)
        assert not db.in_transaction
        assert db.execute("SELECT count(*) FROM run").fetchone() == (0,)


def _insert_runs(db, raising: type[BaseException] | None = None) -> None:
    with database.transaction(db):
        for number in range(100):
            db.execute("INSERT INTO run (name, created_at, note) VALUES (?, 0, ?)", (str(number), "x" * 1000))
        if raising:
            raise raising


@pytest.mark.parametrize("is_synced", [True, False])
def test_what_cannot_be_committed_is_told_of_as_what_it_is_and_undone(home, is_synced):
    with database.opened(home) as db:
        committing = database.transaction(db, is_synced=is_synced)
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), committing:  # noqa: PT012
            db.execute("PRAGMA defer_foreign_keys = ON")
            db.execute("INSERT INTO log_block (run_id, data) VALUES (99, x'00')")
        assert not db.in_transaction
        with database.transaction(db):
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("SELECT * FROM log_block").fetchall() == []


def test_a_full_disk_is_told_of_and_leaves_everything_as_it_was(home):
    with database.opened(home) as db:
        db.execute("INSERT INTO run (name, created_at) VALUES ('first', 0)")
        pages = db.execute("PRAGMA page_count").fetchone()[0]
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(pytest.raises(DiskFull))
        db = stack.enter_context(database.opened(home))
        db.execute(f"PRAGMA max_page_count = {pages}")
        _insert_runs(db)
    assert told(full.value) == (
        f"The disk is full: {home.database}. Nothing of it was stored; make room and do it again."
    )
    with database.reading(home) as db:
        assert db.execute("SELECT name FROM run").fetchall() == [("first",)]


def test_a_shell_that_sits_in_a_transaction_is_told_of_and_does_not_hinder_reading(home, monkeypatch):
    with database.opened(home):
        pass
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(home.database, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(WriterBusy) as busy, database.writing(home):
            pass
        with database.reading(home) as db:
            assert db.execute("SELECT count(*) FROM run").fetchone() == (0,)
    assert told(busy.value) == (
        f"Another process is writing this database: it keeps {home.database} locked. "
        "Is it open in an sqlite3 shell, inside a transaction?"
    )


# The writer's lock ----------------------------------------------------------------------------------------------

HOLD = """
import sys
from pdk_pipeline import config, writer_lock
with writer_lock.held(config.settings(), "the writer", wait_seconds=float(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holding(wait_seconds: float = 10):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(wait_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_one_who_does_not_wait_is_told_who_writes(home):
    with holding() as holder:
        with (
            pytest.raises(WriterBusy) as busy,
            writer_lock.held(home, "a command", wait_seconds=0),
        ):
            pass
        assert told(busy.value) == (
            f"Another process is writing this database: the writer, process {holder.pid}. "
            "Try again when it has finished."
        )


def test_one_who_waits_gets_the_lock_when_the_holder_is_killed(home):
    waited_for = []
    with holding() as holder:

        def on_wait(who: str) -> None:
            waited_for.append(who)
            os.kill(holder.pid, signal.SIGKILL)

        with writer_lock.held(home, "a command", wait_seconds=30, on_wait=on_wait):
            assert holder.wait() == -signal.SIGKILL
    assert waited_for == [f"the writer, process {holder.pid}"]


def test_the_lock_passes_from_one_to_the_next_and_a_third_is_told_of_the_second(home):
    second = None
    with contextlib.ExitStack() as stack:
        with writer_lock.held(home, "the first", wait_seconds=0):
            command = [sys.executable, "-c", HOLD, "30"]
            second = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(second.kill)
        assert second.stdout.readline() == "held\n"
        with pytest.raises(WriterBusy, match=f"the writer, process {second.pid}"):
            stack.enter_context(writer_lock.held(home, "the third", wait_seconds=0))


def test_nobody_waits_for_a_lock_that_was_left_behind(home):
    (home.home / "pdk.db.writer").write_text('["not what we write"]')
    with writer_lock.held(home, "test", wait_seconds=0):
        with pytest.raises(WriterBusy, match="test, process"), writer_lock.held(home, "again", wait_seconds=0):
            pass
        (home.home / "pdk.db.writer").write_text("[]")
        with pytest.raises(WriterBusy, match="just starting"), writer_lock.held(home, "again", wait_seconds=0):
            pass


def test_a_disk_quota_in_the_middle_of_a_transaction_loses_nothing_that_was_there(home):
    """The same as a full disk, as a real system says it: the file may not grow any further."""
    with database.writing(home) as db:
        db.execute("INSERT INTO run (name, created_at) VALUES ('first', 0)")
    limit = home.database.stat().st_size + 50_000
    script = """
import sqlite3
from pdk_pipeline import config, database
try:
    with database.writing(config.settings()) as db:
        for number in range(1000):
            db.execute("INSERT INTO run (name, created_at, note) VALUES (?, 0, ?)", (str(number), "x" * 1000))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stdout.startswith(("OperationalError disk I/O error", "DiskFull"))
    with database.reading(home) as db:
        assert db.execute("SELECT name FROM run").fetchall() == [("first",)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
