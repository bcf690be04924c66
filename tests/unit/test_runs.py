"""Test runs: what their names mean, which one came before, the list of them, and what one holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pdk_pipeline import config, database, runs
from pdk_pipeline.errors import UnknownRun
from tests.conftest import record
from tests.stored import take_in


@pytest.fixture
def db(home):
    with database.opened(home) as connection:
        yield connection


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock at a moment in UTC."""

    def stop(year: int, *rest: int) -> None:
        moment = datetime(year, *rest, tzinfo=UTC)

        class Stopped(datetime):
            @classmethod
            def now(cls, tz=None):
                return moment.astimezone(tz)

        monkeypatch.setattr(runs, "datetime", Stopped)

    return stop


def begin(db, *names: str, at: float = 0) -> None:
    db.executemany("INSERT INTO run (name, created_at) VALUES (?, ?)", [(name, at) for name in names])


def names(found: list[runs.Run]) -> list[str]:
    return [run.name for run in found]


# What a name means ----------------------------------------------------------------------------------------------


def test_latest_and_today_are_the_date_even_when_nothing_has_arrived(home, db, clock):
    clock(2026, 11, 23, 6)
    begin(db, "daily_2026-11-22")
    assert runs.canonical_name(home, db, "daily_latest") == "daily_2026-11-23"
    assert runs.canonical_name(home, db, "daily_today") == "daily_2026-11-23"


def test_yesterday_is_the_run_before_todays_whatever_the_gap(home, db, clock):
    clock(2026, 11, 23, 6)
    begin(db, "daily_2026-11-20", "daily_2026-11-19", "daily_2026-11-23")
    assert runs.canonical_name(home, db, "daily_yesterday") == "daily_2026-11-20"


@pytest.mark.parametrize(
    ("zone", "date"), [("UTC", "2026-11-23"), ("Pacific/Auckland", "2026-11-24"), ("America/New_York", "2026-11-23")]
)
def test_the_date_is_that_of_the_sites_zone(db, clock, monkeypatch, zone, date):
    clock(2026, 11, 23, 23, 30)
    monkeypatch.setenv("PDK_TIMEZONE", zone)
    assert runs.canonical_name(config.load(), db, "daily_latest") == f"daily_{date}"


def test_only_recurring_prefixes_are_translated(db, clock, monkeypatch):
    clock(2026, 11, 23)
    monkeypatch.setenv("PDK_RECURRING", "daily,weekly_x")
    settings = config.load()
    assert runs.canonical_name(settings, db, "weekly_x_latest") == "weekly_x_2026-11-23"
    for name in ("weekly_latest", "user_latest", "daily_later", "latest", "_latest", "daily", "daily_2026-11-23"):
        assert runs.canonical_name(settings, db, name) == name


def test_a_run_that_is_not_there_is_told_with_what_was_meant_and_what_there_is(home, db, clock):
    clock(2026, 11, 23)
    begin(db, "daily_2026-11-22", "mark-25")
    with pytest.raises(UnknownRun) as unknown:
        runs.find(home, db, "daily_latest")
    assert str(unknown.value) == (
        "There is no such test run: daily_latest, which is daily_2026-11-23. Did you mean daily_2026-11-22?"
    )
    with pytest.raises(UnknownRun, match=r"nothing like it\. `pdk runs` lists"):
        runs.find(home, db, "nothing like it")


def test_yesterday_without_an_earlier_run_is_no_run(home, db, clock):
    clock(2026, 11, 23)
    begin(db, "daily_2026-11-23")
    with pytest.raises(UnknownRun, match="daily_yesterday"):
        runs.find(home, db, "daily_yesterday")


# Which one came before ------------------------------------------------------------------------------------------


def test_the_predecessor_is_the_newest_earlier_run_of_exactly_the_same_kind(db):
    begin(
        db,
        "daily_2026-11-20",
        "daily_2026-11-23",
        "daily_2026-11-24",
        "daily_x_2026-11-22",
        "daily_x_2026-11-21",
        "daily2_2026-11-22",
        "Daily_2026-11-22",
        "daily_2026-11-22x",
        "daily_2026-11-2",
        "daily_2026-11-21_rerun",
        "daily_1",
        "daily_latest",
        "daily_",
        "2026-11-22",
        "x_daily_2026-11-22",
    )
    assert runs.predecessor(db, "daily_2026-11-23") == "daily_2026-11-20"
    assert runs.predecessor(db, "daily_2026-11-24") == "daily_2026-11-23"
    assert runs.predecessor(db, "daily_2027-01-01") == "daily_2026-11-24"
    assert runs.predecessor(db, "daily_2026-11-20") is None
    assert runs.predecessor(db, "daily_x_2026-11-22") == "daily_x_2026-11-21"
    assert runs.predecessor(db, "daily_x_2026-11-21") is None


@pytest.mark.parametrize("prefix", ["da*ly", "d[a]ily", "d?ily", "d%ly", "d'ly", "d\nly", "dä_ly", "a_b_c"])
def test_a_prefix_stands_for_itself(db, prefix):
    begin(db, "daily_2026-11-21", f"{prefix}_2026-11-20", f"{prefix}x_2026-11-22")
    assert runs.predecessor(db, f"{prefix}_2026-11-23") == f"{prefix}_2026-11-20"


@pytest.mark.parametrize("name", ["mark-26", "user_ann_ticket87", "daily_26", "daily_latest", "", "2026-11-23", "_"])
def test_a_run_without_a_date_has_no_predecessor(db, name):
    begin(db, "mark-25", "user_ann_ticket86", "daily_25", "daily_2026-11-20", "2026-11-22")
    assert runs.predecessor(db, name) is None


def test_a_deleted_run_is_no_predecessor_and_no_run(home, db):
    begin(db, "daily_2026-11-21", "daily_2026-11-22")
    db.execute("UPDATE run SET deleted_at = 1 WHERE name = 'daily_2026-11-22'")
    assert runs.predecessor(db, "daily_2026-11-23") == "daily_2026-11-21"
    assert names(runs.matching(home, db)) == ["daily_2026-11-21"]
    with pytest.raises(UnknownRun):
        runs.find(home, db, "daily_2026-11-22")


# The list -------------------------------------------------------------------------------------------------------


def test_runs_are_listed_in_the_order_of_their_nights_even_when_an_old_one_came_late(home, db):
    begin(db, "daily_2026-11-22", at=1795305600)  # 2026-11-22
    begin(db, "user_ann", at=1795305600 + 3600)
    begin(db, "daily_2026-11-23", at=1795305600 + 86400)
    begin(db, "daily_2026-11-20", "daily_2026-99-99", at=1795305600 + 2 * 86400)
    assert names(runs.matching(home, db)) == [
        "daily_2026-11-20", "daily_2026-11-22", "user_ann", "daily_2026-11-23", "daily_2026-99-99"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a[1]", "a1", "ab", "a%b", "a*"]),
        ("a[1]", ["a[1]"]),
        ("a[*", ["a[1]"]),
        ("a?", ["a1", "ab", "a*"]),
        ("a%", ["a[1]", "a1", "ab", "a%b", "a*"]),
        ("%b", ["ab", "a%b"]),
        ("A1", []),
        ("a_", []),
        ("", []),
    ],
)
def test_patterns(home, db, pattern, found):
    begin(db, "a[1]", "a1", "ab", "a%b", "a*")
    assert names(runs.matching(home, db, pattern)) == found


# What one holds -------------------------------------------------------------------------------------------------


def test_a_run_in_numbers(home, make_log):
    apple = make_log("a", record("a"), record("b", "F"), record("c", "F"), record("d", "q"), host="apple")
    take_in(home, apple)
    take_in(home, make_log("b", record("a", "E"), record("x", project="other"), host="banana"))
    with database.reading(home) as db:
        run = runs.find(home, db, "daily_2026-11-23")
        assert runs.statuses(db, run) == {"P": 2, "F": 2, "E": 1, "q": 1}
        assert [(*count[:4], count.status, count.results) for count in runs.counts(db, run)] == [
            ("calib", "apple", "py311", "", "F", 2),
            ("calib", "apple", "py311", "", "P", 1),
            ("calib", "apple", "py311", "", "q", 1),
            ("calib", "banana", "py311", "", "E", 1),
            ("other", "banana", "py311", "", "P", 1),
        ]
        assert [(log.file.rpartition("/")[2], log.sender, log.results) for log in runs.imports(db, run)] == [
            ("a", "tests", 4),
            ("b", "tests", 2),
        ]


def test_a_run_without_results_counts_nothing(home, db):
    begin(db, "empty")
    run = runs.find(home, db, "empty")
    assert runs.statuses(db, run) == {}
    assert runs.counts(db, run) == []
    assert runs.imports(db, run) == []
