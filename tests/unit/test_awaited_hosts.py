"""Hosts of the timetable of which nothing is expected yet: a night that waited for them in vain says so."""

from __future__ import annotations

import pytest

from pdk_pipeline import comparison, database, nightly, outbox, report, runs, subscriptions
from pdk_pipeline.comparison import Category, Change
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from pdk_pipeline.subscriptions import Kind, Subscription
from tests.conftest import record, rows
from tests.stored import import_claimed
from tests.unit.test_nightly import arrive, do_night, messages, set_up

SUNDAY, MONDAY, TUESDAY = (f"daily_2026-11-{day}" for day in (22, 23, 24))
TIMETABLE = '[nights.daily]\nat = "02:00"\nhosts = ["banana", "ghost"]\ndeadline = "09:00"\n'


@pytest.fixture
def waiting(home: Settings) -> Settings:
    """A home whose nights wait for two hosts."""
    return set_up(home, TIMETABLE)


def compared(home: Settings, run: str) -> comparison.Comparison:
    with database.reading(home) as db:
        found = runs.find(home, db, run)
        return comparison.compare(db, found, comparison.previous(db, found))


def silent(home: Settings, run: str) -> list[Change]:
    return [change for change in compared(home, run).changes if change.category is Category.SILENT]


def last_mail(home: Settings) -> str:
    with database.reading(home) as db:
        (id_,) = max(rows(home, "SELECT id FROM notification"))
        return outbox.content(db, id_).text


def test_a_host_that_never_reported_is_silent_when_its_night_waited_for_it(waiting: Settings):
    arrive(waiting, "a", record("t1"))
    do_night(waiting, MONDAY)
    document = report.build(compared(waiting, MONDAY))
    assert document.subject == f"[pdk] calib {MONDAY}: 1 host silent"
    assert not document.is_all_well
    text = report.render_text(document)
    assert "1 HOST SILENT\n  ghost  nothing arrived, though its night waited for it\n" in text
    page = report.render_html(document)
    assert "ghost" in page
    assert "all well" not in page


def test_in_several_projects_it_is_told_once(waiting: Settings):
    arrive(waiting, "a", record("t1"))
    arrive(waiting, "b", record("t1"), project="optics")
    do_night(waiting, MONDAY)
    document = report.build(compared(waiting, MONDAY))
    assert document.essence == "1 host silent"
    text = report.render_text(document)
    assert text.count("  ghost  nothing arrived, though its night waited for it\n") == 1
    assert "2 projects have nothing but the silent hosts: calib, optics" in text


def test_since_when_it_has_been_waited_for_is_told_and_that_it_is_no_news(waiting: Settings):
    for run in (SUNDAY, MONDAY, TUESDAY):
        arrive(waiting, run, record("t1"), test_run=run)
        do_night(waiting, run)
    (change,) = silent(waiting, TUESDAY)
    assert (change.since, change.nights, change.is_longer, change.is_news) == (SUNDAY, 3, False, False)
    (change,) = silent(waiting, SUNDAY)
    assert (change.since, change.nights, change.is_news) == (SUNDAY, 1, True)


def test_a_host_that_is_silent_as_always_is_not_told_twice(waiting: Settings):
    arrive(waiting, "a", record("t1"), record("t2"))
    arrive(waiting, "b", record("t1"), host="ghost")
    do_night(waiting, MONDAY)
    assert silent(waiting, MONDAY) == []
    arrive(waiting, "c", record("t1"), record("t2"), test_run=TUESDAY)
    do_night(waiting, TUESDAY)
    (change,) = silent(waiting, TUESDAY)
    assert (change.host, change.tests) == ("ghost", 1)


def test_a_run_without_a_night_waited_for_nobody(waiting: Settings):
    arrive(waiting, "a", record("t1"))
    for claim, _ in spool.collect(waiting).claims:
        import_claimed(waiting, claim)
    assert report.build(compared(waiting, MONDAY)).is_all_well


def test_a_host_that_the_timetable_names_later_is_not_held_against_an_earlier_night(home: Settings):
    arrive(home, "a", record("t1"))
    do_night(home, MONDAY)
    home = set_up(home, TIMETABLE)
    assert silent(home, MONDAY) == []


def test_a_reader_is_told_of_it_and_once_it_has_reported_late_that_it_is_silent_no_more(waiting: Settings):
    with database.writing(waiting) as db:
        subscriptions.subscribe(db, Subscription("ann@example.org", "calib", Kind.FULL, None))
    arrive(waiting, "a", record("t1"))
    do_night(waiting, MONDAY)
    assert messages(waiting)[0][1:] == ("report", f"[pdk] calib {MONDAY}: 1 host silent")
    assert "  ghost  nothing arrived" in last_mail(waiting)
    arrive(waiting, "b", record("t1"), host="ghost")
    for claim, _ in spool.collect(waiting).claims:
        import_claimed(waiting, claim)
    with database.writing(waiting) as db:
        db.execute("UPDATE night SET told_until = told_until - 1")
    (at,) = max(rows(waiting, "SELECT imported_at FROM import_file"))
    nightly.tell_late(waiting, at + nightly.LATE_SETTLE_SECONDS + 1)
    assert messages(waiting)[1][1:] == ("addendum", f"[pdk] calib {MONDAY}, addendum: 1 no longer silent")
    assert "1 NO LONGER SILENT\n  ghost" in last_mail(waiting)
    assert silent(waiting, MONDAY) == []
