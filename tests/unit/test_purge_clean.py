"""`pdk clean`: what goes, what stays, in short steps, and the file shrinks."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from pdk_pipeline import database, expected, runs
from pdk_pipeline.intake import ledger, quarantine
from pdk_pipeline.purge import clean, deletion, steps
from pdk_pipeline.selection import Selection
from tests.conftest import record, rows
from tests.purged import Once, assert_whole, clean_all, delete, left_over
from tests.stored import is_sound, results, take_in
from tests.typed import Terminal

MONDAY, TUESDAY = "daily_2026-11-23", "daily_2026-11-24"
DAY = 86_400.0


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def report(home, make_log):
    """Have a machine report so many tests: `report(MONDAY, 100, host="apple")`."""

    def make(run: str, tests: int, *, host: str = "banana", log: str = "some words\n", **more) -> None:
        records = [
            record(f"flat/test_{n}", "PPPF"[n % 4], log=f"{log} {n} {run}\n" if n % 5 else "") for n in range(tests)
        ]
        take_in(home, make_log(f"{host}.{run}", *records, test_run=run, host=host), **more)

    return make


@pytest.fixture
def hurried(monkeypatch):
    """Steps that end after the first thing they do."""

    monkeypatch.setattr(clean, "Time", Once)
    monkeypatch.setattr(deletion, "AT_ONCE", 3)
    for name in ("BLOCKS_AT_ONCE", "TESTS_AT_ONCE", "ENVIRONMENTS_AT_ONCE", "PAGES_AT_ONCE"):
        monkeypatch.setattr(clean, name, 3)
    monkeypatch.setattr(ledger, "WINDOW", 3)


def test_what_was_deleted_goes_with_all_that_nothing_refers_to_any_more(report, home):
    report(MONDAY, 40, host="apple")
    report(TUESDAY, 10)
    delete(home, MONDAY)
    removed = clean_all(home)
    assert {what: removed[what] for what in ("runs", "results", "tests", "environments")} == {
        "runs": 1,
        "results": 40,
        "tests": 30,
        "environments": 1,
    }
    assert left_over(home) == {}
    assert is_sound(home)
    assert len(results(home)) == 10


def test_what_is_expected_stays_though_no_result_is_left(report, home):
    report(MONDAY, 20, host="apple")
    report(TUESDAY, 5)
    with database.writing(home) as db:
        expected.learn(db, runs.find(home, db, MONDAY), "weekly", Selection(tests=("flat/test_1?",)), now=1.0)
        expected.learn(db, runs.find(home, db, TUESDAY), "daily", Selection(), now=1.0)
    before = rows(home, "SELECT * FROM expected ORDER BY 1, 2, 3, 4")
    delete(home, MONDAY)
    delete(home, TUESDAY)
    assert clean_all(home)["tests"] == 5  # test_5 … test_9
    assert rows(home, "SELECT * FROM expected ORDER BY 1, 2, 3, 4") == before
    assert is_sound(home)


def test_clean_knows_every_table_that_refers_to_a_test_or_an_environment(home):
    # It checks references itself; a new table with one would lose its tests.
    with database.opened(home) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        referring = {
            (table, referred)
            for table in tables
            for _, _, referred, *_ in db.execute(f"PRAGMA foreign_key_list({table})")
            if referred in {"test", "environment"}
        }
    assert referring == {(table, to) for table in ("result", "expectation") for to in ("test", "environment")}


def test_references_are_checked_again_after_a_clean(report, home):
    report(MONDAY, 1)
    with database.kept_open():
        with database.opened(home) as db:
            clean_all(home)
        with database.opened(home) as db:
            assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.usefixtures("hurried")
def test_every_step_leaves_a_whole_database_and_the_next_clean_does_the_rest_of_a_killed_one(report, home):
    report(MONDAY, 25, host="apple")
    report(MONDAY, 12, host="cherry")
    report(TUESDAY, 8)
    delete(home, MONDAY)
    kept = results(home)
    # Whatever a clean has done so far, one that begins anew does the rest; it is killed after a few steps, four times.
    place, steps = None, 0
    while True:
        step = clean.step(home, place, now=time.time())
        steps += 1
        assert_whole(home)
        assert results(home) == kept
        if step.next is None:
            break
        place = None if steps in {5, 12, 25, 40} else step.next
    assert steps > 40
    assert left_over(home) == {}
    assert rows(home, "PRAGMA freelist_count") == [(0,)]


def test_a_clean_that_is_told_of_a_place_that_it_does_not_know_begins_at_the_beginning(report, home):
    report(MONDAY, 5)
    delete(home, MONDAY)
    step = clean.step(home, {"phase": "of another version", "where": 3}, now=1.0)
    assert step.removed["results"] == 5


def test_log_blocks_whose_results_were_all_replaced_go(report, home):
    report(MONDAY, 10)
    report(MONDAY, 10, log="other words\n", replace=True)
    assert left_over(home) == {"log blocks without results": 1}
    assert clean_all(home)["log blocks"] == 1
    assert left_over(home) == {}
    assert all("other words" in row[14] for row in results(home) if row[14])


def test_a_deleted_run_goes_with_the_log_blocks_that_its_replaced_results_left(report, home):
    report(MONDAY, 10)
    report(MONDAY, 10, log="other words\n", replace=True)
    delete(home, MONDAY)
    assert clean_all(home)["runs"] == 1
    assert rows(home, "SELECT count(*) FROM log_block") == [(0,)]


def test_a_run_of_which_few_machines_have_the_first_tests_and_many_the_last_goes_whole(home, make_log, monkeypatch):
    # However far a statement reaches after a stretch of few results, it removes no more than it should at once.
    monkeypatch.setattr(deletion, "AT_ONCE", 8)
    take_in(home, make_log("names", *(record(f"t{n:03}") for n in range(200)), test_run=TUESDAY))
    take_in(home, make_log("few", record("t000"), test_run=MONDAY, host="lonely"))
    for host in range(6):
        take_in(home, make_log("many", *(record(f"t{n}") for n in range(150, 190)), test_run=MONDAY, host=f"h{host}"))
    delete(home, MONDAY)
    most: list[int] = []
    remove = deletion._remove

    def watched(*arguments) -> int:
        most.append(remove(*arguments))
        return most[-1]

    monkeypatch.setattr(deletion, "_remove", watched)
    assert clean_all(home)["results"] == 241
    assert max(most) <= 16
    assert left_over(home) == {}


def test_the_file_shrinks(report, home):
    report(TUESDAY, 10)
    report(MONDAY, 3000, host="apple", log="\n".join(str(hash(str(n))) for n in range(20)))
    size = home.database.stat().st_size
    delete(home, MONDAY)
    clean_all(home)
    assert home.database.stat().st_size < size / 3
    assert rows(home, "PRAGMA freelist_count") == [(0,)]
    assert len(results(home)) == 10


def test_somebody_who_reads_meanwhile_sees_what_there_was_and_only_holds_up_the_shrinking(report, home):
    report(TUESDAY, 10)
    report(MONDAY, 3000, host="apple")
    size = home.database.stat().st_size
    with database.reading(home) as reader:
        assert reader.execute("SELECT count(*) FROM result_scalar").fetchone() == (3010,)
        delete(home, MONDAY)
        began = time.monotonic()
        told = [note for step in clean.steps(home, now=time.time()) for note in step.notes]
        assert time.monotonic() - began < 5
        assert told == ["somebody is reading the database: its file shrinks when they have finished"]
        assert reader.execute("SELECT count(*) FROM result_scalar").fetchone() == (3010,)
    clean_all(home)
    assert home.database.stat().st_size < size / 2


def test_a_clean_that_is_over_says_what_it_did_and_a_second_one_that_there_was_nothing(pdk, report):
    report(MONDAY, 30)
    report(TUESDAY, 1, host="apple")
    pdk("delete_run", MONDAY)
    done = pdk("clean")
    assert done.status == 0
    first, second = done.out.splitlines()
    assert first == "removed: 1 run, 30 results, 29 tests, 1 environment"
    assert second.startswith("the database takes ")
    assert pdk("clean").out.splitlines()[0] == "removed: nothing, there was nothing to remove"
    assert pdk("clean", "--json").data["is_over"] is True


@pytest.mark.usefixtures("hurried")
def test_a_clean_whose_time_is_over_says_so_and_the_next_one_goes_on(pdk, report, home):
    report(MONDAY, 30)
    pdk("delete_run", MONDAY)
    done = pdk("clean", "--max-seconds=0")
    assert done.status == 0
    assert done.err == "pdk: the time is over; the next clean does the rest\n"
    assert 0 < rows(home, "SELECT count(*) FROM result")[0][0] < 30
    assert pdk("clean", "--json").data["removed"]["runs"] == 1
    assert left_over(home) == {}


def test_a_step_takes_less_than_half_a_second_of_which_an_import_would_have_to_wait(report, home):
    for host in ("apple", "banana", "cherry"):
        report(MONDAY, 5000, host=host)
    delete(home, MONDAY)
    place, longest = None, 0.0
    while True:
        began = time.process_time()
        step = clean.step(home, place, now=time.time())
        longest = max(longest, time.process_time() - began)
        place = step.next
        if place is None:
            break
    assert longest < 0.5


def test_on_a_slow_disk_the_next_step_gets_less_time_and_on_a_quick_one_as_much_as_it_may(monkeypatch):
    clock = iter([0.0, 0.6, 10.0, 10.45, 20.0, 20.1, 30.0, 60.0])
    monkeypatch.setattr(steps.time, "monotonic", lambda: next(clock))
    place: steps.Place = None
    given = []
    for _ in range(4):
        moment = steps.Time(place)
        place = {"seconds": moment.for_next()}
        given.append(round(place["seconds"], 3))
    assert given == [0.06, 0.04, 0.12, 0.01]


# Indexes --------------------------------------------------------------------------------------------------------


def test_no_step_reads_a_whole_table(report, home, monkeypatch):
    """Of the big tables only what an index leads to is looked at; `run` and `environment` are short."""
    report(MONDAY, 20, host="apple")
    report(TUESDAY, 5)
    with database.writing(home) as db:
        expected.learn(db, runs.find(home, db, TUESDAY), "daily", Selection(), now=1.0)
    delete(home, MONDAY)
    with database.opened(home) as db:
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        with monkeypatch.context() as watched:
            watched.setattr(database, "opened", lambda _: contextlib.nullcontext(db))
            clean_all(home)
        db.set_trace_callback(None)
        scans = set()
        for statement in statements:
            # Where clean switches the checking of references off it reads no more for them.
            is_unchecked = statement.lstrip().startswith(("DELETE FROM test", "DELETE FROM environment"))
            db.execute(f"PRAGMA foreign_keys = {'OFF' if is_unchecked else 'ON'}")
            if statement.split()[0] in {"SELECT", "DELETE", "UPDATE"}:
                scans |= {row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}") if "SCAN" in row[3]}
    big = {"result", "log_block", "test", "expectation"}
    assert scans
    assert not {scan for scan in scans if scan.split()[1] in big}


# Old entries ----------------------------------------------------------------------------------------------------


def test_the_ledger_forgets_an_old_log_when_its_runs_are_gone_and_not_before(report, home):
    report(MONDAY, 3)
    report(TUESDAY, 3)
    old = time.time() + 91 * DAY
    delete(home, MONDAY)
    # not at once: it may be asked after, and may be delivered again
    clean_all(home)
    assert rows(home, "SELECT count(*) FROM import_file") == [(2,)]
    assert clean_all(home, now=old)["imports"] == 1
    assert [Path(name).name for (name,) in rows(home, "SELECT name FROM import_file")] == [f"banana.{TUESDAY}"]
    with database.reading(home) as db:
        assert runs.imports(db, runs.find(home, db, TUESDAY))[0].results == 3


def test_the_ledger_remembers_the_log_of_what_lies_in_the_quarantine(home, make_log):
    take_in(home, make_log("half", record("t"), record("bad", "X")))
    take_in(home, make_log("whole", "no record\n", test_run=TUESDAY))
    for run in (MONDAY,):
        delete(home, run)
    old = time.time() + 91 * DAY
    clean_all(home, now=old)
    assert len(quarantine.notes(home)) == 2
    assert rows(home, "SELECT count(*) FROM import_file") == [(2,)]
    for note in quarantine.notes(home):
        quarantine.drop(home, note.id)
    clean_all(home, now=old)
    assert rows(home, "SELECT count(*) FROM import_file") == [(0,)]


def test_attempts_that_nobody_came_back_to_are_forgotten(home):
    with database.opened(home) as db:
        ledger.begin_attempt(db, "never ended")
    clean_all(home)
    assert rows(home, "SELECT count(*) FROM import_attempt") == [(1,)]
    clean_all(home, now=time.time() + 91 * DAY)
    assert rows(home, "SELECT count(*) FROM import_attempt") == [(0,)]
