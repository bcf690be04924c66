"""Killed at any point, whatever deletes, cleans or backs up leaves all whole, and the next one does the rest."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import large as large_database
from pdk_pipeline import backup, database, expected, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.purge import deletion
from pdk_pipeline.selection import Selection
from tests.conftest import record, rows
from tests.integration import dying
from tests.integration.processes import PDK, Background
from tests.purged import NOW, assert_whole, delete, left_over
from tests.stored import is_sound, results, tables, take_in
from workers import dispatch
from workers.queues import WRITER

ROOT = Path(__file__).parents[2]
POINTS = 15
"""At so many points each kind of work is killed, other ones every time."""


@pytest.fixture
def prepared(home: Settings, make_log, tmp_path) -> Path:
    """A home with something for every kind of work, and a directory of backups beside it. Returns where they are."""
    for run, host in (
        ("daily_2026-09-01", "apple"),  # old: deleted by retention
        ("daily_2026-11-01", "banana"),  # loses the logs of its passing results
        ("daily_2026-11-22", "cherry"),  # deleted
        ("daily_2026-11-23", "banana"),  # loses a part
        ("daily_2026-11-23", "cherry"),
    ):
        words = "\n".join(f"{n * 7919 % 10_007} of {host}" for n in range(20))
        records = [record(f"{host}/test_{n}", "PPF"[n % 3], log=f"{n} {run} {words}\n") for n in range(60)]
        take_in(home, make_log(f"{host}.{run}", *records, test_run=run, host=host))
    with database.writing(home) as db:
        expected.learn(db, runs.find(home, db, "daily_2026-11-22"), "daily", Selection(tests=("*_1?",)), now=1.0)
    delete(home, "daily_2026-11-22", now=NOW)
    archive = home.spool / "archive" / "2026" / "01" / "01"
    archive.mkdir(parents=True)
    for number in range(4):
        (archive / f"log.{number}").write_text("x")
    (home.home / "pdk.toml").write_text(
        'timezone = "UTC"\nkeep_archive_days = 30\n[keep.daily]\ndays = 60\npassing_logs_days = 10\n'
    )
    place = tmp_path / "prepared"
    place.mkdir()
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in range(2):
        backup.make(home, backups, now=NOW - (23 - day) * 86_400)
    shutil.move(home.home, place / "home")
    shutil.move(backups, place / "backups")
    return place


def perform(place: Path, work: str, *points: int) -> list[int]:
    """Have work done and killed at each of the points. Returns the events of those that came to the end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.dying", str(place), work, *map(str, points)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    return [int(line) for line in done.stdout.split()]


def of(place: Path) -> Settings:
    return Settings(home=place / "home", timezone="UTC")


@pytest.mark.parametrize("work", ["clean", "retention", "part", "backup", "restore"])
def test_killed_at_any_point_it_leaves_all_whole_and_the_next_one_comes_to_the_same_end(prepared, monkeypatch, work):
    (events,) = perform(prepared, work, 0)
    finished = prepared.with_name(f"{work}-0")
    seed = time.time_ns()
    points = sorted(random.Random(seed).sample(range(1, events + 1), min(POINTS, events)))
    assert perform(prepared, work, *points) == [], f"seed {seed}"
    before, end = seen(prepared), seen(finished)
    for point in points:
        place = prepared.with_name(f"{work}-{point}")
        told = f"{work} killed at event {point} of {events}"
        # What is there is whole, and nothing is half: of a run that is seen nothing is missing but what ought to go.
        assert_whole(of(place))
        assert_backups_are_whole(place)
        if work in {"clean", "backup"}:
            assert seen(place) == before, told
        elif work == "restore":
            assert seen(place) in (before, end), told
        # And the next one does the rest.
        monkeypatch.setenv("PDK_HOME", str(place / "home"))
        settings = Settings(home=place / "home", timezone="UTC", **keeping(work))
        dying.WORKS[work](settings)
        assert seen(place) == end, told
        assert_whole(settings)
        assert_backups_are_whole(place)
        if work == "clean":
            assert left_over(settings) == {}, told
            assert rows(settings, "PRAGMA freelist_count") == [(0,)]
        if work in {"backup", "restore"}:
            assert not list(place.rglob("*.part")), told
        shutil.rmtree(place)


def keeping(work: str) -> dict:
    if work != "retention":
        return {}
    return {"keep": {"daily": {"days": 60, "passing_logs_days": 10}}, "keep_archive_days": 30}


def seen(place: Path) -> tuple:
    """What a user sees of a home: results with their logs, what is expected, the archive."""
    settings = of(place)
    archive = sorted(path.name for path in (settings.spool / "archive").rglob("*") if path.is_file())
    return results(settings), rows(settings, "SELECT * FROM expected ORDER BY 1, 2, 3, 4"), archive


def assert_backups_are_whole(place: Path) -> None:
    paths = [path for path in (place / "backups").iterdir() if not path.name.startswith(".")]
    assert paths
    for path in paths:
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
            assert db.execute("SELECT count(*) FROM result").fetchone() == (300,), path


# Real commands, at any time ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A database with two nights, of which the first is deleted."""
    settings = Settings(home=tmp_path_factory.mktemp("large"), timezone="UTC")
    large_database.make(settings, large_database.Size(nights=2, results=200_000, hosts=20, short_nights=0))
    delete(settings, "daily_2026-01-01", now=NOW)
    return settings.database


@pytest.fixture
def large(home: Settings, made: Path) -> Settings:
    """A home of one's own with that database."""
    shutil.copy(made, home.database)
    return home


def left_of_the_first(settings: Settings) -> int:
    return rows(settings, "SELECT count(*) FROM result WHERE run_id = 1")[0][0]


def wait_until_it_gets_on(settings: Settings, process: Background) -> None:
    """Wait until more of the first night is gone, or the process has ended."""
    before = left_of_the_first(settings)
    while left_of_the_first(settings) == before and process.popen.poll() is None:
        pause(process, 0.005)


def pause(process: Background, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.popen.wait(seconds)


def test_a_clean_that_is_killed_again_and_again_comes_to_its_end(large, start):
    size = large.database.stat().st_size
    kept = rows(large, "SELECT * FROM result WHERE run_id = 2")
    kills = 0
    while left_of_the_first(large):
        cleaning = start(*PDK, "clean", "--local")
        wait_until_it_gets_on(large, cleaning)
        pause(cleaning, random.random() * 0.1)  # at some moment of the next step
        cleaning.kill()
        kills += 1
        assert is_sound(large)
    assert kills >= 2
    assert start(*PDK, "clean", "--local").wait() == 0
    assert left_over(large) == {}
    assert rows(large, "SELECT * FROM result WHERE run_id = 2") == kept
    assert large.database.stat().st_size < 0.6 * size


def test_a_command_that_waits_for_the_writer_is_told_of_all_though_the_writer_is_killed(
    large, start_worker, start, broker_url
):
    worker = start_worker(WRITER)
    command = start(*PDK, "clean", PDK_BROKER_URL=broker_url)
    wait_until_it_gets_on(large, command)
    os.kill(worker.children()[0], signal.SIGKILL)
    assert command.wait() == 0, command.lines
    assert command.lines[0].startswith("removed: 1 run, "), command.lines
    assert left_over(large) == {}
    assert is_sound(large)


def test_an_import_gets_its_turn_in_the_middle_of_a_clean(
    large, start_worker, start, broker_url, make_log, monkeypatch
):
    # Given a clean that is under way
    start_worker(WRITER)
    cleaning = start(*PDK, "clean", PDK_BROKER_URL=broker_url)
    wait_until_it_gets_on(large, cleaning)
    # When a log comes to be imported
    monkeypatch.setenv("PDK_BROKER_URL", broker_url)
    settings = Settings(home=large.home, timezone="UTC", broker_url=broker_url)
    call = dispatch.Call("import_logs", ([[str(make_log("a.pdklog", record())), "one"]], {}, False), "a.pdklog")
    ((_, outcome),) = dispatch.run(settings, [call], local=False, on_progress=lambda *_: None, on_note=print)
    # Then it is in before the clean is over
    assert outcome["logs"][0]["accepted"] == 1
    assert left_of_the_first(large) > 0
    assert cleaning.wait() == 0
    assert left_over(large) == {}


def test_a_command_beside_a_clean_without_a_broker_gets_its_turn_too(large, start, make_log):
    importlib.import_module("workers.importing")  # to load it takes as long as half of the clean
    cleaning = start(*PDK, "clean", "--local")
    wait_until_it_gets_on(large, cleaning)
    call = dispatch.Call("import_logs", ([[str(make_log("a.pdklog", record())), "one"]], {}, False), "a.pdklog")
    ((_, outcome),) = dispatch.run(large, [call], local=True, on_progress=lambda *_: None, on_note=lambda _: None)
    assert outcome["logs"][0]["accepted"] == 1
    assert left_of_the_first(large) > 0
    assert cleaning.wait() == 0
    assert left_over(large) == {}


def test_a_night_cleans_by_itself_step_after_step(large, start_worker, broker_url, monkeypatch):
    """The task without a command that waits: each step sends the next."""
    worker = start_worker(WRITER)
    call = dispatch.Call("clean", (), "clean")
    monkeypatch.setenv("PDK_BROKER_URL", broker_url)
    dispatch.send(Settings(home=large.home, broker_url=broker_url), [call])
    worker.wait_for("clean[")
    while left_over(large):
        pause(worker, 0.02)
    assert is_sound(large)


def test_nothing_is_restored_while_up_runs(start_up, pdk, home, make_log, tmp_path):
    take_in(home, make_log("a.pdklog", record()))
    pdk("backup", tmp_path / "copy.db")
    before = tables(home)
    up = start_up("--no-flower")
    refused = pdk("restore", tmp_path / "copy.db")
    assert refused.returncode == 1
    assert f"A `pdk up` of this home is running: process {up.pid}. Stop it first" in refused.stderr
    assert pdk("backup", tmp_path / "copy.db").returncode == 0
    up.interrupt()
    assert pdk("restore", tmp_path / "copy.db").returncode == 0
    assert tables(home) | {"night_class": []} == before, "all is as before, but that the writer knows the nights"


def test_a_run_is_deleted_and_brought_back_by_the_writer(start_up, pdk, home, make_log):
    take_in(home, make_log("a.pdklog", record("a"), record("b", "F")))
    start_up("--no-flower")
    assert pdk("delete_run", "daily_2026-11-23").returncode == 0
    with database.reading(home) as db:
        assert [run.name for run in deletion.deleted(db)] == ["daily_2026-11-23"]
    assert "is back: 2 results" in pdk("undelete_run", "daily_2026-11-23").stdout
    assert pdk("delete_run", "daily_2026-11-23", "-status=F").returncode == 0
    assert rows(home, "SELECT test_name FROM result_scalar") == [("a",)]
    assert "removed: 1 test" in pdk("clean").stdout
