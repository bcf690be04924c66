"""Backups while the system runs, the way back, and the database made anew from the archive."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from pdk_pipeline import backup, config, database, schema, writer_lock
from pdk_pipeline.errors import BackupRefused, BadBackup, DatabaseTooNew, DatabaseUnusable, NoDatabase, WriterBusy
from pdk_pipeline.intake import quarantine, spool
from tests.conftest import record, rows
from tests.machine import needs_permissions
from tests.purged import clean_all, delete
from tests.stored import import_claimed, is_sound, results, tables, take_in
from tests.typed import Terminal

MONDAY, TUESDAY = "daily_2026-11-23", "daily_2026-11-24"
NOW = 1_795_500_000.0  # 2026-11-24 06:00:00 UTC


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def report(home, make_log):
    def make(run: str, tests: int = 5, *, host: str = "banana") -> None:
        records = [record(f"test_{n}", "PF"[n % 2], log=f"words {n} of {run}\n") for n in range(tests)]
        take_in(home, make_log(f"{host}.{run}", *records, test_run=run, host=host))

    return make


def content(path) -> dict:
    """What a backup holds, looked at without pdk."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}


# Making one -----------------------------------------------------------------------------------------------------


def test_a_backup_is_the_whole_database_in_one_file(report, home, tmp_path):
    report(MONDAY, 200)
    made = backup.make(home, tmp_path / "copy.db", now=NOW)
    assert content(tmp_path / "copy.db") == content(home.database)
    assert made.bytes == (tmp_path / "copy.db").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["banana.daily_2026-11-23", "copy.db", "home"]


def test_what_is_written_while_it_is_made_is_not_in_it_and_does_not_begin_it_anew(report, home, tmp_path, monkeypatch):
    report(MONDAY, 500)
    before = content(home.database)
    monkeypatch.setattr(backup, "PAGES_AT_ONCE", 5)
    seen = []

    def write_meanwhile(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) < 20:
            with database.writing(home) as db:
                db.execute("INSERT INTO run (name, created_at) VALUES (?, 0)", (f"run {len(seen)}",))

    backup.make(home, tmp_path / "copy.db", now=NOW, progress=write_meanwhile)
    assert content(tmp_path / "copy.db") == before
    written = rows(home, "SELECT count(*) FROM run")[0][0] - 1
    assert written == min(len(seen), 19) > 5
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_import_goes_on_while_a_backup_is_being_made(report, home, tmp_path):
    report(MONDAY, 500)
    reached, may_go_on = threading.Event(), threading.Event()

    def stop_at_first(_done: int, _total: int) -> None:
        reached.set()
        assert may_go_on.wait(30)

    worker = threading.Thread(
        target=lambda: backup.make(home, tmp_path / "copy.db", now=NOW, progress=stop_at_first), daemon=True
    )
    worker.start()
    assert reached.wait(30)
    report(TUESDAY)
    may_go_on.set()
    worker.join()
    assert {run[1] for run in content(tmp_path / "copy.db")["run"]} == {MONDAY}


def test_in_a_directory_it_is_named_by_the_time_and_the_last_ones_stay(report, home, tmp_path):
    report(MONDAY)
    place = tmp_path / "backups"
    place.mkdir()
    (place / "pdk-of-somebody.db").write_text("mine")
    for day in range(5):
        made = backup.make(home, place, keep=3, now=NOW + day * 86_400)
    assert made.path == str(place / "pdk-2026-11-28T060000.db")
    assert made.removed == [str(place / "pdk-2026-11-25T060000.db")]
    assert sorted(path.name for path in place.iterdir()) == [
        "pdk-2026-11-26T060000.db",
        "pdk-2026-11-27T060000.db",
        "pdk-2026-11-28T060000.db",
        "pdk-of-somebody.db",
    ]


def test_the_setting_says_where_when_nobody_else_does(pdk, report, home, tmp_path):
    report(MONDAY)
    done = pdk("backup")
    assert done.status == 1
    assert done.err == (
        "pdk: The backup cannot be written: nothing says where. Name a file or a directory, or set backup_directory.\n"
    )
    (home.home / "pdk.toml").write_text(f'timezone = "UTC"\nbackup_directory = "{tmp_path}/a/b"\nkeep_backups = 1\n')
    assert pdk("backup").status == 0
    (only,) = (tmp_path / "a" / "b").iterdir()
    assert content(only) == content(home.database)


def test_an_older_backup_is_replaced_and_anything_else_is_not(report, home, tmp_path):
    report(MONDAY)
    target = tmp_path / "copy.db"
    backup.make(home, target, now=NOW)
    report(TUESDAY)
    backup.make(home, target, now=NOW)
    assert content(target) == content(home.database)
    (tmp_path / "thesis.txt").write_text("years of work")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE t (x)")
    (tmp_path / "link.db").symlink_to(home.database)
    for name, why in (
        ("thesis.txt", "is something else than a backup"),
        ("other.db", "is something else than a backup"),
        ("home/pdk.db", "is the database itself"),
        ("link.db", "is the database itself"),
        ("nowhere/copy.db", "is no directory. Make it first."),
    ):
        with pytest.raises(BackupRefused, match=why):
            backup.make(home, tmp_path / name, now=NOW)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert is_sound(home)


def test_without_a_database_there_is_nothing_to_back_up(home, tmp_path):
    with pytest.raises(NoDatabase):
        backup.make(home, tmp_path / "copy.db", now=NOW)
    assert not (tmp_path / "copy.db").exists()


def test_a_damaged_database_makes_no_backup_and_leaves_the_last_one(report, home, tmp_path):
    report(MONDAY, 500)
    target = tmp_path / "copy.db"
    backup.make(home, target, now=NOW)
    before = target.read_bytes()
    with home.database.open("r+b") as file:  # an index page, which copying does not look at
        root = rows(home, "SELECT rootpage FROM sqlite_master WHERE name = 'result_history'")[0][0]
        file.seek((root - 1) * 4096 + 8)
        file.write(b"\xff" * 64)
    with pytest.raises(DatabaseUnusable) as refused:
        backup.make(home, target, now=NOW)
    assert "An older backup may be whole." in str(refused.value)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_backup_left_is_removed_by_the_next_and_one_under_way_is_let_be(report, home, tmp_path):
    report(MONDAY)
    place = tmp_path / "backups"
    place.mkdir()
    (place / ".pdk-2026-11-22T060000.db.part").write_text("half")
    with (place / ".pdk-2026-11-23T060000.db.part").open("w") as under_way:
        fcntl.flock(under_way, fcntl.LOCK_EX)
        backup.make(home, place, now=NOW)
        assert sorted(path.name for path in place.iterdir()) == [
            ".pdk-2026-11-23T060000.db.part",
            "pdk-2026-11-24T060000.db",
        ]
        with pytest.raises(BackupRefused, match="another process is writing"):
            backup.make(home, place / "pdk-2026-11-23T060000.db", now=NOW)


@needs_permissions
def test_a_place_that_may_not_be_written_is_one_line(report, home, tmp_path):
    report(MONDAY)
    place = tmp_path / "backups"
    place.mkdir(mode=0o500)
    with pytest.raises(BackupRefused, match="Permission denied"):
        backup.make(home, place, now=NOW)


# The way back ---------------------------------------------------------------------------------------------------


def test_what_was_backed_up_comes_back_and_what_was_there_is_kept_beside_it(pdk, report, home, tmp_path):
    report(MONDAY)
    before = tables(home)
    pdk("backup", tmp_path / "copy.db")
    delete(home, MONDAY)
    clean_all(home)
    report(TUESDAY)
    since = tables(home)
    done = pdk("restore", tmp_path / "copy.db")
    assert done.status == 0
    assert tables(home) == before
    assert is_sound(home)
    (aside,) = home.home.glob("pdk.db.before-*")
    assert f"the one before is {aside}" in done.out
    # and back again, since a restored database is one like any other
    assert pdk("restore", aside).status == 0
    assert tables(home) == since


def test_the_first_thing_in_an_empty_home_may_be_to_restore(pdk, report, home, tmp_path):
    report(MONDAY)
    pdk("backup", tmp_path / "copy.db")
    before = tables(home)
    for path in home.home.glob("pdk.db*"):
        path.unlink()
    home.database.with_name("pdk.db-wal").write_bytes(b"of another database")
    done = pdk("restore", tmp_path / "copy.db", "--json")
    assert done.status == 0
    assert done.data["aside"] is None
    assert tables(home) == before


def test_a_ruined_database_does_not_keep_its_backup_from_coming_back(pdk, report, home, tmp_path):
    report(MONDAY)
    before = tables(home)
    pdk("backup", tmp_path / "copy.db")
    home.database.write_bytes(b"\xff" * 10_000)
    home.database.with_name("pdk.db-wal").write_bytes(b"of another database")
    assert pdk("restore", tmp_path / "copy.db").status == 0
    assert tables(home) == before
    (aside,) = home.home.glob("pdk.db.before-*[0-9]")
    assert aside.read_bytes() == b"\xff" * 10_000
    assert aside.with_name(aside.name + "-wal").read_bytes() == b"of another database"


@pytest.mark.parametrize("damage", ["empty", "text", "cut off", "overwritten"])
def test_what_is_no_whole_backup_is_refused_and_nothing_is_changed(report, home, tmp_path, damage):
    report(MONDAY, 300)
    backup.make(home, tmp_path / "copy.db", now=NOW)
    whole = (tmp_path / "copy.db").read_bytes()
    damaged = {
        "empty": b"",
        "text": b"not a database" * 1000,
        "cut off": whole[: len(whole) // 2],
        "overwritten": whole[:20_000] + b"\xff" * 20_000 + whole[40_000:],
    }
    (tmp_path / "bad.db").write_bytes(damaged[damage])
    before = tables(home)
    with pytest.raises(BadBackup, match=r"bad\.db") as refused:
        backup.restore(home, tmp_path / "bad.db", now=NOW)
    assert "\n" not in str(refused.value)
    assert tables(home) == before
    assert not list(home.home.glob("*.before-*"))
    assert not list(home.home.glob(".pdk.db.part*"))


def test_the_backup_of_a_newer_pdk_is_refused(report, home, tmp_path):
    report(MONDAY)
    backup.make(home, tmp_path / "copy.db", now=NOW)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        db.execute("PRAGMA user_version = 1000")
    with pytest.raises(DatabaseTooNew, match="has version 1000, this pdk knows"):
        backup.restore(home, tmp_path / "copy.db", now=NOW)


def test_the_backup_of_an_older_pdk_is_brought_up_to_date_by_the_next_command(pdk, home, tmp_path):
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript(f"{schema.migrations()[0][1]}; PRAGMA user_version = 1")
        db.execute("INSERT INTO run (name, created_at) VALUES (?, 0)", (MONDAY,))
        db.commit()
    assert pdk("restore", tmp_path / "old.db").status == 0
    assert pdk("initdb").status == 0
    assert rows(home, "SELECT name FROM run") == [(MONDAY,)]


def test_while_anybody_writes_or_reads_nothing_is_restored(report, home, tmp_path):
    report(MONDAY)
    backup.make(home, tmp_path / "copy.db", now=NOW)
    report(TUESDAY)
    before = tables(home)
    with writer_lock.held(home, "the writer", wait_seconds=0), pytest.raises(WriterBusy, match="the writer"):
        backup.restore(home, tmp_path / "copy.db", now=NOW)
    with database.reading(home) as reader:
        assert reader.execute("SELECT count(*) FROM run").fetchone() == (2,)
        with pytest.raises(WriterBusy, match=r"has .* open"):
            backup.restore(home, tmp_path / "copy.db", now=NOW)
    assert tables(home) == before
    assert not list(home.home.glob("*.before-*"))
    backup.restore(home, tmp_path / "copy.db", now=NOW)
    assert tables(home) != before


# Anew from the archive ------------------------------------------------------------------------------------------


def test_the_database_can_be_made_anew_from_the_archive(home, make_log, tmp_path, monkeypatch):
    # Given nights whose logs came through incoming/, with duplicates, and a record that was mended in the quarantine
    from pdk_pipeline.intake import importing

    def collect(name: str, *records: str, **head: str) -> None:
        spool.prepare(home)
        shutil.move(make_log(name, *records, **head), home.spool / "incoming" / name)
        for claim, _ in spool.collect(home).claims:
            import_claimed(home, claim)

    collect("banana.1", record("a", log="first\n"), record("b", "F", tda_x="1"), test_run=MONDAY)
    collect("banana.2", record("a", "E", log="second: too late\n"), record("c"), test_run=MONDAY)
    collect("apple.1", record("a"), record("bad", "X", log="kept\n"), test_run=MONDAY, host="apple")
    collect("apple.2", record("a", "F"), test_run=TUESDAY, host="apple")
    (note,) = quarantine.notes(home)
    mended = quarantine.content_path(home, note.id)
    mended.write_bytes(mended.read_bytes().replace(b"status=X", b"status=E"))
    os.utime(mended, ns=(1, 1))
    importing.retry(home, note.id)
    before = results(home)
    assert len(before) == 6
    # When another home imports what lies in the archive, in the order in which it was archived
    archive = sorted(path for path in (home.spool / "archive").rglob("*") if path.is_file())
    monkeypatch.setenv("PDK_HOME", str(tmp_path / "another"))
    config.settings.cache_clear()
    another = config.settings()
    for path in archive:
        take_in(another, path)
    # Then it has the same results; the bad record is in the quarantine again, though its mended form is imported
    assert results(another) == before
    assert [bad.id for bad in quarantine.notes(another)] == [note.id]


def test_what_was_imported_from_where_it_lay_is_not_in_the_archive(home, make_log):
    take_in(home, make_log("a", record("a")))
    take_in(home, make_log("b", record("b")), archive=True)
    assert [path.name for path in (home.spool / "archive").rglob("*") if path.is_file()] == ["b"]
    # but the ledger says where it lay
    assert rows(home, "SELECT name FROM import_file ORDER BY id")[0][0].endswith("/a")
