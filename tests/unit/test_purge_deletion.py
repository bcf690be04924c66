"""Runs deleted, whole or in part, and brought back."""

from __future__ import annotations

import time

import pytest

from pdk_pipeline import database, runs
from pdk_pipeline.errors import RunGone, ValuableRun
from pdk_pipeline.purge import clean, deletion
from pdk_pipeline.purge.steps import Time
from pdk_pipeline.selection import Selection
from tests.conftest import record, rows
from tests.purged import Once, assert_whole, clean_all, delete
from tests.stored import results, statuses, take_in
from tests.typed import Terminal

MONDAY, TUESDAY, WEDNESDAY = "daily_2026-11-23", "daily_2026-11-24", "daily_2026-11-25"


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def report(home, make_log):
    """Have a machine report some results: `report("daily_2026-11-23", a="P", b="F", host="apple")`."""

    def make(run: str, *, host: str = "banana", project: str = "calib", **of_tests: str) -> None:
        records = [record(test, status, log=f"log of {test} on {host}\n") for test, status in of_tests.items()]
        take_in(home, make_log(f"{host}.{project}.{run}", *records, test_run=run, host=host, project=project))

    return make


def names(home) -> list[str]:
    with database.reading(home) as db:
        return [run.name for run in runs.matching(home, db)]


# Whole runs -----------------------------------------------------------------------------------------------------


def test_a_deleted_run_is_gone_at_once_from_everything_that_is_shown(pdk, report, home):
    report(MONDAY, a="P", b="F")
    report(TUESDAY, a="P")
    done = pdk("delete_run", MONDAY)
    assert done.status == 0
    assert done.out.split("\n")[1].split()[:2] == [MONDAY, "2"]
    assert names(home) == [TUESDAY]
    assert {row[0] for row in results(home)} == {TUESDAY}
    assert rows(home, "SELECT test_run FROM distinct_test_run") == [(TUESDAY,)]
    assert MONDAY not in pdk("history", "a").out
    for command in ("run-info", "export", "report"):
        assert pdk(command, MONDAY).status == 1
    assert pdk("delete_run", MONDAY).err.startswith("pdk: There is no such test run: daily_2026-11-23.")


def test_a_test_that_is_only_in_a_deleted_run_is_suggested_to_nobody(pdk, report):
    report(MONDAY, flat_field="P")
    report(TUESDAY, a="P")
    assert "There is flat_field" in pdk("history", "flat_fiel").err
    pdk("delete_run", MONDAY)
    assert "There is flat_field" not in pdk("history", "flat_fiel").err


def test_the_valuable_one_stays_by_name_the_others_go_and_the_status_is_1(pdk, report, home):
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        report(day, a="P")
    pdk("valuable", TUESDAY)
    done = pdk("delete_run", "--wild", "daily_2026-11-*")
    assert done.status == 1
    assert done.err == (
        f"pdk: A valuable run is not deleted: {TUESDAY}. `pdk valuable {TUESDAY} --off` lets it be deleted.\n"
    )
    assert names(home) == [TUESDAY]
    # and once it is not valuable any more, it goes
    pdk("valuable", TUESDAY, "--off")
    assert pdk("delete_run", TUESDAY).status == 0
    assert names(home) == []


def test_a_typing_error_in_one_name_does_not_keep_the_others(pdk, report, home):
    report(MONDAY, a="P")
    report(TUESDAY, a="P")
    done = pdk("delete_run", "daily_2026-11-22", MONDAY)
    assert done.status == 1
    assert "There is no such test run: daily_2026-11-22. Did you mean daily_2026-11-2" in done.err
    assert names(home) == [TUESDAY]


@pytest.mark.parametrize(
    ("pattern", "deleted"),
    [
        ("daily_2026-11-*", {"daily_2026-11-23", "daily_2026-11-24"}),
        ("daily_2026-11-2?", {"daily_2026-11-23", "daily_2026-11-24"}),
        ("daily%24", {"daily_2026-11-24", "dailyx2026-11-24"}),
        ("daily_2026-11-24", {"daily_2026-11-24"}),
        ("daily-2026-11-24", set()),  # _ is a letter, and so is -
        ("dailyx2026*", {"dailyx2026-11-24"}),
        ("user[1]*", {"user[1]_a"}),
        ("*", {"daily_2026-11-23", "daily_2026-11-24", "dailyx2026-11-24", "user[1]_a"}),
    ],
)
def test_patterns(pdk, report, home, pattern, deleted):
    everything = {"daily_2026-11-23", "daily_2026-11-24", "dailyx2026-11-24", "user[1]_a"}
    for run in everything:
        report(run, a="P")
    assert pdk("delete_run", "-wild", pattern).status == 0
    assert everything - set(names(home)) == deleted


def test_a_pattern_without_wild_is_refused_and_nothing_is_deleted(pdk, report, home):
    report(MONDAY, a="P")
    done = pdk("delete_run", MONDAY, "daily_2026-11-*")
    assert done.status == 2
    assert "daily_2026-11-* is no run; if it is meant as a pattern: --wild" in done.err
    assert names(home) == [MONDAY]


def test_a_run_whose_name_looks_like_a_pattern_can_be_deleted(pdk, report, home):
    report("what?", a="P")
    report("whats", a="P")
    assert pdk("delete_run", "what?").status == 0
    assert names(home) == ["whats"]


def test_latest_is_todays_run(pdk, report, home):
    today = f"daily_{time.strftime('%Y-%m-%d', time.gmtime())}"
    report(today, a="P")
    report("daily_2026-01-01", a="P")
    assert pdk("delete_run", "daily_latest").status == 0
    assert names(home) == ["daily_2026-01-01"]


def test_counting_changes_nothing(pdk, report, home):
    report(MONDAY, a="P", b="F")
    report(TUESDAY, a="P")
    pdk("valuable", TUESDAY)
    counted = pdk("delete_run", "--wild", "*", "--count", "--json")
    assert counted.status == 0
    assert counted.data == {
        "runs": [
            {"run": MONDAY, "results": 2, "outcome": "would be hidden"},
            {"run": TUESDAY, "results": 1, "outcome": "is valuable and stays"},
        ],
        "results": 2,
        "problems": [],
    }
    part = pdk("delete_run", MONDAY, "-status", "F", "--count", "--json").data
    assert part["runs"] == [{"run": MONDAY, "results": 1, "outcome": "would be removed"}]
    assert len(results(home)) == 3


def test_a_task_that_comes_twice_does_not_delete_the_run_that_has_its_name_since(report, home):
    # Given a run that is deleted, and another of the same name that was imported since
    report(MONDAY, a="P")
    old = delete(home, MONDAY)
    report(MONDAY, b="P")
    # When the same deletion comes again
    with database.writing(home) as db:
        assert not deletion.delete(db, old, now=2.0)
    # Then the new one is untouched, whatever is cleaned
    clean_all(home)
    assert statuses(home) == {"b": "P"}


# Back again -----------------------------------------------------------------------------------------------------


def test_what_is_brought_back_is_as_it_was(pdk, report, home):
    report(MONDAY, a="P", b="F")
    pdk("note", MONDAY, "kept")
    before = results(home)
    pdk("delete_run", MONDAY)
    assert [line.split()[:2] for line in pdk("undelete_run").out.splitlines()[1:]] == [[MONDAY, "2"]]
    done = pdk("undelete_run", MONDAY)
    assert done.out == f"{MONDAY} is back: 2 results\n"
    assert results(home) == before
    assert "kept" in pdk("runs").out
    assert pdk("undelete_run").err == "pdk: no run is deleted and not yet removed\n"


def test_a_run_that_was_removed_part_by_part_cannot_come_back(pdk, report):
    report(MONDAY, a="P", b="P")
    assert pdk("delete_run", MONDAY, "-status=P").status == 0
    assert pdk("undelete_run").err == "pdk: no run is deleted and not yet removed\n"
    assert pdk("undelete_run", MONDAY).status == 1


def test_of_two_deleted_runs_of_a_name_the_last_one_comes_back(pdk, report, home):
    report(MONDAY, first="P")
    delete(home, MONDAY, now=1000.0)
    report(MONDAY, second="P")
    delete(home, MONDAY, now=2000.0)
    assert pdk("undelete_run", MONDAY).status == 0
    assert statuses(home) == {"second": "P"}


def test_a_run_does_not_come_back_over_another_one_of_its_name(pdk, report, home):
    report(MONDAY, a="P")
    pdk("delete_run", MONDAY)
    report(MONDAY, b="P")
    done = pdk("undelete_run", MONDAY)
    assert done.status == 1
    assert done.err == (
        f"pdk: Another run has that name now: {MONDAY}. --instead deletes that one and brings the older one back.\n"
    )
    assert statuses(home) == {"b": "P"}
    # When it is to come back instead of that one, and that one again
    assert pdk("undelete_run", "--instead", MONDAY).status == 0
    assert statuses(home) == {"a": "P"}
    pdk("valuable", MONDAY)
    assert pdk("undelete_run", "--instead", MONDAY).status == 1
    assert statuses(home) == {"a": "P"}
    pdk("valuable", MONDAY, "--off")
    assert pdk("undelete_run", "--instead", MONDAY).status == 0
    assert statuses(home) == {"b": "P"}


def test_a_run_does_not_come_back_once_clean_has_begun_with_it(pdk, report, home, monkeypatch):
    report(MONDAY, a="P", b="P", c="P")
    run = delete(home, MONDAY)
    with monkeypatch.context() as hurried:
        hurried.setattr(deletion, "AT_ONCE", 1)
        hurried.setattr(clean, "Time", Once)
        clean.step(home, now=2.0)
    assert 0 < rows(home, "SELECT count(*) FROM result")[0][0] < 3
    done = pdk("undelete_run", MONDAY)
    assert done.status == 1
    assert done.err.startswith(f"pdk: This run cannot come back any more: {MONDAY}. `pdk clean` has begun to remove it")
    assert "is being removed" in pdk("undelete_run").out
    clean_all(home)
    with database.writing(home) as db, pytest.raises(RunGone):
        deletion.undelete(db, run, now=2000.0)
    assert "There is no such test run" in pdk("undelete_run", MONDAY).err


# Parts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_machines(report):
    report(MONDAY, host="apple", a="P", b="F")
    report(MONDAY, host="banana", a="F", c="E")
    report(MONDAY, host="banana", project="drizzle", a="P")
    report(TUESDAY, host="banana", a="P")


@pytest.mark.usefixtures("two_machines")
@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["-host", "banana"], ["apple calib a", "apple calib b"]),
        (["-h", "b*", "-p", "calib"], ["apple calib a", "apple calib b", "banana drizzle a"]),
        (["-project=drizzle"], ["apple calib a", "apple calib b", "banana calib a", "banana calib c"]),
        (["-status", "F", "-s", "E"], ["apple calib a", "banana drizzle a"]),
        (["-context", "py3*", "-custom", "", "-s", "P"], ["apple calib b", "banana calib a", "banana calib c"]),
        (
            ["-h", "nowhere"],
            ["apple calib a", "apple calib b", "banana calib a", "banana calib c", "banana drizzle a"],
        ),
    ],
)
def test_a_part_of_a_run_is_removed_and_nothing_else(pdk, home, filters, left):
    counted = pdk("delete_run", MONDAY, *filters, "--count", "--json").data["results"]
    done = pdk("delete_run", MONDAY, *filters, "--json")
    assert done.status == 0
    assert done.data["results"] == counted == 5 - len(left)
    found = [(row[2], row[1], row[5]) for row in results(home) if row[0] == MONDAY]
    assert sorted(" ".join(row) for row in found) == left
    assert len(results(home)) == len(left) + 1
    # the logs of those that stay are still theirs, and no block is left that nobody's log is in
    assert all(row[14] == f"log of {row[5]} on {row[2]}\n" for row in results(home))
    assert_whole(home)


def test_a_part_that_was_all_of_the_run_takes_the_run_with_it(pdk, report, home):
    report(MONDAY, a="P", b="P")
    assert pdk("delete_run", MONDAY, "-status=P").status == 0
    assert names(home) == []


@pytest.mark.usefixtures("two_machines")
def test_no_part_of_a_valuable_run_is_removed(pdk, home):
    pdk("valuable", MONDAY)
    done = pdk("delete_run", MONDAY, TUESDAY, "-host=banana")
    assert done.status == 1
    assert f"A valuable run is not deleted: {MONDAY}." in done.err
    assert {row[0] for row in results(home)} == {MONDAY}
    assert len(results(home)) == 5


@pytest.mark.usefixtures("two_machines")
def test_what_is_imported_while_a_part_is_being_deleted_stays(report, home):
    # Given a part that was chosen, and more of the same machine that comes before it is removed
    with database.writing(home) as db:
        run = runs.find(home, db, MONDAY)
        # one of its tests was missing
        db.execute("UPDATE result SET status = 'M', import_id = NULL, log_block_id = NULL WHERE id = 3")
        part = deletion.part(db, run, Selection(hosts=("banana",)))
    report(MONDAY, host="banana", a="P", late="P")
    # When the part is removed
    with database.writing(home) as db:
        step = deletion.delete_part(db, part, None, Time({"seconds": 60}), now=1.0)
    assert step.next is None
    # Then what came late is there: the new one, and the one in the place of the missing one
    assert [(row[5], row[6]) for row in results(home) if row[0] == MONDAY and row[2] == "banana"] == [
        ("a", "P"),
        ("late", "P"),
    ]


def test_a_part_is_removed_in_steps_that_each_go_on_where_the_last_one_ended(report, home, monkeypatch):
    tests = {f"test_{number:02}": "PF"[number % 2] for number in range(30)}
    for host in ("apple", "banana", "cherry"):
        report(MONDAY, host=host, **tests)
    monkeypatch.setattr(deletion, "AT_ONCE", 12)
    with database.reading(home) as db:
        part = deletion.part(db, runs.find(home, db, MONDAY), Selection(hosts=("[!a]*", "b*", "c*"), statuses=("F",)))
    place, steps, removed = None, 0, 0
    while True:
        with database.writing(home) as db:
            step = deletion.delete_part(db, part, place, Once(), now=1.0)
        steps += 1
        removed += step.removed["results"]
        assert_whole(home)
        place = step.next
        if place is None:
            break
    assert (removed, steps) == (30, 5)
    assert [row[6] for row in results(home) if row[2] != "apple"] == ["P"] * 30
    assert len(results(home)) == 60


@pytest.mark.usefixtures("two_machines")
def test_a_run_that_becomes_valuable_meanwhile_keeps_what_is_left(home):
    with database.writing(home) as db:
        run = runs.find(home, db, MONDAY)
        part = deletion.part(db, run, Selection(hosts=("banana",)))
        runs.set_valuable(db, run, is_valuable=True)
        with pytest.raises(ValuableRun):
            deletion.delete_part(db, part, None, Time(), now=1.0)
